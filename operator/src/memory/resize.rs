//! Asks the API server to resize a pod, and understands why it will not.

use atsign_crds::quantity;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::build::template::CONTAINER;
use crate::names;

/// Why the API server does not resize a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The pod is another one by now, or gone.
    Replaced,
    /// A quota or a `LimitRange` has no room.
    Quota(String),
    /// The operator has no right to.
    Forbidden(String),
    /// The API server or the node cannot: Kubernetes is too old.
    NotSupported(String),
    /// Something else, that the API server says.
    Other(String),
    /// The API server could not be asked; nothing is known.
    Unknown(String),
}

/// Sets request and limit of the pod with this UID.
pub async fn resize(pods: &Api<Pod>, name: &str, uid: &str, to: u64) -> Result<(), Refusal> {
    let memory = quantity::display(to);
    let resources = json!({"limits": {"memory": memory}, "requests": {"memory": memory}});
    let patch = json!({
        "metadata": {"uid": uid},
        "spec": {"containers": [{"name": CONTAINER, "resources": resources}]},
    });
    let params =
        PatchParams { field_manager: Some(names::MEMORY_MANAGER.to_owned()), ..PatchParams::default() };
    match pods.patch_resize(name, &params, &Patch::Strategic(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => match pods.get_opt(name).await {
            // The pod is there, so it is the subresource that is not.
            Ok(Some(pod)) if pod.metadata.uid.as_deref() == Some(uid) => {
                Err(Refusal::NotSupported(status.message))
            }
            Ok(_) => Err(Refusal::Replaced),
            Err(error) => Err(Refusal::Unknown(error.to_string())),
        },
        Err(kube::Error::Api(status)) => Err(refusal(status.code, &status.message)),
        Err(error) => Err(Refusal::Unknown(error.to_string())),
    }
}

/// What a refusal means. Kubernetes gives quota, `LimitRange`, missing rights and what a node cannot do one code, 403 or 422,
/// so its words must tell.
fn refusal(code: u16, message: &str) -> Refusal {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let message = message.to_owned();
    match code {
        409 => Refusal::Replaced,
        403 | 422
            if says(&["exceeded quota", "usage per Pod", "usage per Container", "usage per container"]) =>
        {
            Refusal::Quota(message)
        }
        400 | 403 | 405 | 422
            if says(&[
                "without support for resize",
                "cannot be decreased",
                "could not find the requested resource",
            ]) =>
        {
            Refusal::NotSupported(message)
        }
        405 => Refusal::NotSupported(message),
        403 if says(&["pods/resize"]) => Refusal::Forbidden(message),
        400..500 => Refusal::Other(message),
        _ => Refusal::Unknown(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_understood_by_its_words() {
        let text =
            |refusal: &Refusal| format!("{refusal:?}").split('(').next().unwrap_or_default().to_owned();
        for (code, message, expected) in [
            (
                403,
                "pods \"a\" is forbidden: exceeded quota: q, requested: limits.memory=2Mi, used: …",
                "Quota",
            ),
            (
                403,
                "pods \"a\" is forbidden: maximum memory usage per Container is 8Mi, but limit is 12Mi",
                "Quota",
            ),
            (403, "pods \"a\" is forbidden: User \"x\" cannot patch resource \"pods/resize\"", "Forbidden"),
            (
                422,
                "Pod \"a\" is invalid: spec: Forbidden: Pod running on node without support for resize",
                "NotSupported",
            ),
            (
                422,
                "Pod \"a\" is invalid: …: memory limits cannot be decreased unless resizePolicy is RestartContainer",
                "NotSupported",
            ),
            (409, "Precondition failed: UID in precondition: a, UID in object meta: b", "Replaced"),
            (422, "Pod \"a\" is invalid: spec: Forbidden: Pod QOS Class may not change", "Other"),
            (500, "etcd is away", "Unknown"),
        ] {
            assert_eq!(text(&refusal(code, message)), expected, "{message}");
        }
    }
}
