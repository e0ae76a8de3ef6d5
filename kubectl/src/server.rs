//! What runs for an AtSign: its pod, and what the server says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use atsign_protocol::Usage;
use http::Request;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use crate::find;

/// The container of the server.
pub const CONTAINER: &str = "secondary";
/// Where it is served.
pub const PORT: u16 = 6464;
/// Where it says what it uses.
pub const ADMIN_PORT: u16 = 9464;
/// The label whose value is the AtSign's name.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// How long a server may take to say what it uses.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pods of the AtSign of this name, the newest first and those that end last.
pub async fn pods(api: &Api<Pod>, name: &str) -> kube::Result<Vec<Pod>> {
    let selector = format!("app.kubernetes.io/name=atsign-secondary,{INSTANCE}={name}");
    let mut pods = find::all(api, &ListParams::default().labels(&selector)).await?;
    pods.sort_by_key(|pod| (is_ending(pod), std::cmp::Reverse(pod.creation_timestamp())));
    Ok(pods)
}

/// The running pod of each AtSign, by namespace and name.
pub async fn all(api: &Api<Pod>) -> kube::Result<BTreeMap<(String, String), Pod>> {
    let selector = ListParams::default().labels("app.kubernetes.io/name=atsign-secondary");
    let pods = find::all(api, &selector).await?;
    Ok(pods
        .into_iter()
        .filter(|pod| !is_ending(pod))
        .filter_map(|pod| Some(((pod.namespace()?, pod.labels().get(INSTANCE)?.clone()), pod)))
        .collect())
}

fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod answers.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    !is_ending(pod)
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What the kubelet says of the server's container.
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|status| status.name == CONTAINER)
}

/// What the server in `pod` says of itself, by the API server's proxy: from a laptop there is no other way to it.
pub async fn usage(client: &Client, pod: &Pod) -> Result<Usage, String> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{ADMIN_PORT}/proxy/usage");
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, client.request::<Usage>(request)).await {
        Ok(Ok(usage)) => Ok(usage),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err("you may not use pods/proxy".to_owned())
        }
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// The memory that it uses and that cannot be evicted.
pub fn used(usage: &Usage) -> u64 {
    usage.anon.saturating_add(usage.kernel).saturating_add(usage.sock).saturating_add(usage.dirty)
}
