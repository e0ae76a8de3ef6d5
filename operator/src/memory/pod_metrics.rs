//! What a server's container uses, as metrics.k8s.io tells it: for images that do not say themselves what they need.

use atsign_crds::quantity;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;

use crate::build::template::CONTAINER;

/// The working set of the server in this pod, in bytes: `None` where nobody has measured it yet.
pub async fn working_set(client: &Client, namespace: &str, pod: &str) -> kube::Result<Option<u64>> {
    let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    let resource = ApiResource::from_gvk_with_plural(&kind, "pods");
    let metrics: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let metrics = metrics.get_opt(pod).await?;
    Ok(metrics.as_ref().and_then(memory))
}

fn memory(metrics: &DynamicObject) -> Option<u64> {
    let containers = metrics.data.get("containers")?.as_array()?;
    let container = containers.iter().find(|container| container["name"] == CONTAINER)?;
    quantity::bytes(container["usage"]["memory"].as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_is_that_of_the_servers_container() {
        let metrics = |containers| {
            let text = serde_json::json!({"metadata": {"name": "alice-1"}, "containers": containers});
            memory(&serde_json::from_value(text).expect("an object"))
        };
        let of = |name: &str| serde_json::json!({"name": name, "usage": {"cpu": "1m", "memory": "5436Ki"}});
        assert_eq!(metrics(serde_json::json!([of("sidecar"), of(CONTAINER)])), Some(5436 << 10));
        assert_eq!(metrics(serde_json::json!([of("sidecar")])), None);
        assert_eq!(metrics(serde_json::json!([])), None);
    }
}
