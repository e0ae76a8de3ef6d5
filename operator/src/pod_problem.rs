//! Why a server does not answer, in the words of whoever holds it up: scheduler, kubelet, image, claim, quota.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use crate::build::storage_job;
use crate::condition::{Because, Progress};
use crate::dereference::Observed;
use crate::validate::Server;

/// Finds out. Called only while the Deployment is not available.
pub fn find(
    server: &Server,
    deployment: &Deployment,
    claim: Option<&PersistentVolumeClaim>,
    observed: &Observed,
) -> Progress {
    let (namespace, name) = (&server.namespace, &server.name);
    if let Some(why) = storage_job::failure(observed.storage_job.as_ref()) {
        let job = observed.storage_job.as_ref().map(ResourceExt::name_any).unwrap_or_default();
        return Progress::Troubled(Because::new(
            "StorageJobFailed",
            format!(
                "the directory on the NFS export could not be made ({why}); it is tried again in two minutes, see the log of Job {job} in the operator's namespace"
            ),
        ));
    }
    let running = observed.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let Some(pod) = running.max_by_key(|pod| pod.creation_timestamp()) else {
        return no_pod(deployment, observed);
    };
    if let Some(because) = waiting(pod, namespace, name) {
        return Progress::Troubled(because);
    }
    if let Some(message) = unscheduled(pod) {
        if let Some(claim) = claim.filter(|claim| !is_bound(claim)) {
            let claim = claim.name_any();
            return Progress::Reconciling(Because::new(
                "ClaimPending",
                format!(
                    "PersistentVolumeClaim {claim} has no volume yet; if it stays so: kubectl describe pvc -n {namespace} {claim}"
                ),
            ));
        }
        return Progress::Troubled(Because::new(
            "Unschedulable",
            format!(
                "no node takes the pod: {message}; see: kubectl describe pod -n {namespace} {}",
                pod.name_any()
            ),
        ));
    }
    Progress::Reconciling(Because::new(
        "ServerStarting",
        format!(
            "the server starts and is not ready yet; if it stays so: kubectl logs -n {namespace} deployment/{name}"
        ),
    ))
}

fn no_pod(deployment: &Deployment, observed: &Observed) -> Progress {
    let conditions =
        deployment.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let refused =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    if let Some(refused) = refused {
        let why = refused.message.clone().unwrap_or_default();
        return Progress::Troubled(Because::new(
            "PodRefused",
            format!(
                "the namespace does not admit the pod: {why}; raise the quota, or change the policy that refuses it"
            ),
        ));
    }
    let ending =
        if observed.pods.is_empty() { "waiting for a pod" } else { "waiting until the old pod has ended" };
    Progress::Reconciling(Because::new("WaitingForPod", ending))
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    (scheduled.status == "False").then(|| scheduled.message.clone().unwrap_or_default())
}

/// What the kubelet says of a container that cannot start. Its own messages count seconds and restarts; these do not, so
/// that the status is not written anew for each.
fn waiting(pod: &Pod, namespace: &str, name: &str) -> Option<Because> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find_map(|status| {
        if let Some(because) = too_small(status) {
            return Some(because);
        }
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        match waiting.reason.as_deref()? {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => Some(Because::new(
                "ImagePullFailed",
                format!("image {} cannot be pulled; check its name, the registry and the tier's pod.imagePullSecrets", status.image),
            )),
            "CrashLoopBackOff" => Some(crash(status, namespace, name)),
            "CreateContainerConfigError" => Some(Because::new(
                "PodConfigInvalid",
                format!("the kubelet cannot prepare the container: {}", waiting.message.clone().unwrap_or_default()),
            )),
            "CreateContainerError" | "RunContainerError" => Some(Because::new(
                "ContainerFailed",
                format!("the node cannot start the container; see: kubectl describe pod -n {namespace} {}", pod.name_any()),
            )),
            _ => None,
        }
    })
}

/// Some container runtimes start nothing in as little memory as our servers need. They say so each in its own words.
fn too_small(status: &ContainerStatus) -> Option<Because> {
    let state = status.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.message.as_deref());
    let ended = [Some(state), status.last_state.as_ref()].into_iter().flatten();
    // A container that ran and was killed ended for another reason.
    let ended = ended.filter_map(|state| state.terminated.as_ref());
    let unstarted = ended.filter(|ended| ended.reason.as_deref() != Some("OOMKilled"));
    let said = waiting.into_iter().chain(unstarted.filter_map(|ended| ended.message.as_deref()));
    said.into_iter().find_map(|said| {
        let what = if said.contains("too low; should be at least") {
            "CRI-O takes no container under 12Mi unless its runtime is crun"
        } else if said.contains("memory limit too low?") || said.contains("unable to set memory limit to") {
            "the node's container runtime needs more than that to start it"
        } else {
            return None;
        };
        Some(Because::new(
            "MemoryBelowRuntimeMinimum",
            format!(
                "the node cannot start a container with so little memory: {what}; use crun (the tier's pod.runtimeClassName, or container_min_memory in crio.conf), or start with more: memory.default 12Mi"
            ),
        ))
    })
}

fn crash(status: &ContainerStatus, namespace: &str, name: &str) -> Because {
    let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if ended.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled")) {
        return Because::new(
            "OutOfMemory",
            "the server was killed for want of memory and is started again; give it more: spec.memory.default, or a larger tier",
        );
    }
    let code = ended.map_or_else(|| "an unknown code".to_owned(), |ended| ended.exit_code.to_string());
    Because::new(
        "CrashLoop",
        format!(
            "the server ends with {code} as soon as it starts; see why: kubectl logs -n {namespace} deployment/{name} --previous"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reason(state: &Value, last: &Value) -> Option<&'static str> {
        let pod = json!({"metadata": {"name": "alice-1"}, "status": {"containerStatuses": [{"name": "secondary",
            "image": "i", "imageID": "", "ready": false, "restartCount": 3, "state": state, "lastState": last}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        waiting(&pod, "home", "alice").map(|because| because.reason)
    }

    #[test]
    fn a_runtime_that_needs_more_memory_to_start_anything_is_understood() {
        let waits = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
        let crio = "set memory limit 6291456 too low; should be at least 12582912 bytes";
        assert_eq!(
            reason(&waits("CreateContainerError", crio), &json!({})),
            Some("MemoryBelowRuntimeMinimum")
        );
        let runc = json!({"terminated": {"exitCode": 128, "reason": "StartError", "message":
            "failed to create containerd task: container init was OOM-killed (memory limit too low?)"}});
        assert_eq!(reason(&waits("CrashLoopBackOff", ""), &runc), Some("MemoryBelowRuntimeMinimum"));
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        assert_eq!(reason(&waits("CrashLoopBackOff", ""), &killed), Some("OutOfMemory"));
        assert_eq!(
            reason(&waits("CreateContainerError", "no such file"), &json!({})),
            Some("ContainerFailed")
        );
    }
}
