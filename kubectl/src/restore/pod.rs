//! The pod that restores: the server's own, but that it reads a backup instead of serving. Pure.

use anyhow::{Context as _, Result};
use atsign_crds::AtSign;
use atsign_protocol::AtSign as Identity;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource as _, ResourceExt as _};

use crate::server::CONTAINER;

/// Its container.
const RESTORE: &str = "restore";
/// The volume with the data.
const STORAGE: &str = "storage";
/// Nobody waits for it longer: a kubectl that was killed leaves one behind.
const LONGEST: i64 = 6 * 3600;

/// Builds it from the server's template: image, security, placement and size are what the tier and the namespace allow.
pub(super) fn build(
    at_sign: &AtSign,
    identity: &Identity,
    deployment: &Deployment,
    force: bool,
) -> Result<Pod> {
    let name = at_sign.name_any();
    let template = deployment.spec.clone().context("the Deployment is empty")?.template;
    let (meta, mut spec) = (template.metadata.unwrap_or_default(), template.spec.context("it has no pod")?);
    let mut labels = meta.labels.unwrap_or_default();
    // Neither the Service nor the Deployment takes it for the server.
    for (label, value) in
        [("name", "atsign-restore"), ("component", RESTORE), ("managed-by", "kubectl-atsign")]
    {
        labels.insert(format!("app.kubernetes.io/{label}"), value.to_owned());
    }

    let server = spec.containers.into_iter().find(|container| container.name == CONTAINER);
    let mut container = server.with_context(|| format!("the Deployment has no container {CONTAINER}"))?;
    let args = ["restore", "--at-sign", identity.as_str(), "--from", "-"]
        .into_iter()
        .chain(force.then_some("--force"));
    RESTORE.clone_into(&mut container.name);
    container.args = Some(args.map(str::to_owned).collect());
    container.stdin = Some(true);
    // Who sends and goes away has ended the input.
    container.stdin_once = Some(true);
    container.volume_mounts.get_or_insert_default().retain(|mount| mount.name == STORAGE);
    (container.ports, container.resize_policy) = (None, None);
    (container.startup_probe, container.liveness_probe, container.readiness_probe) = (None, None, None);

    spec.containers = vec![container];
    spec.volumes.get_or_insert_default().retain(|volume| volume.name == STORAGE);
    spec.restart_policy = Some("Never".to_owned());
    spec.active_deadline_seconds = Some(LONGEST);
    // What it has not finished it never began.
    spec.termination_grace_period_seconds = Some(1);
    Ok(Pod {
        metadata: ObjectMeta {
            name: Some(format!("{name}-restore")),
            namespace: at_sign.namespace(),
            labels: Some(labels),
            annotations: meta.annotations,
            owner_references: Some(vec![OwnerReference {
                api_version: AtSign::api_version(&()).into_owned(),
                kind: AtSign::kind(&()).into_owned(),
                name,
                uid: at_sign.uid().unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

fn state(pod: &Pod) -> Option<&ContainerState> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()?.state.as_ref()
}

/// Whether its container runs, or has run.
pub(super) fn has_started(pod: &Pod) -> bool {
    state(pod).is_some_and(|state| state.running.is_some()) || exit_code(pod).is_some()
}

/// How it ended, once it has; a pod that the cluster ended before that has 137, as if it were killed.
pub(super) fn exit_code(pod: &Pod) -> Option<i32> {
    let ended = state(pod).and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    ended.or_else(|| (phase == Some("Failed")).then_some(137))
}

/// What keeps it from starting.
pub(super) fn waits_for(pod: &Pod) -> String {
    let waiting = state(pod).and_then(|state| state.waiting.as_ref());
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unscheduled =
        conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let (reason, message) = match (waiting, unscheduled) {
        (Some(waiting), _) => (waiting.reason.clone(), waiting.message.clone()),
        (None, Some(unscheduled)) => (unscheduled.reason.clone(), unscheduled.message.clone()),
        (None, None) => (None, None),
    };
    format!("{} {}", reason.unwrap_or_else(|| "no reason is given".to_owned()), message.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn it_is_the_servers_pod_but_for_what_serves_and_what_is_secret() {
        let at_sign: AtSign =
            of(json!({"metadata": {"name": "alice", "namespace": "home", "uid": "u-1"}, "spec": {}}));
        let mount = |name| json!({"name": name, "mountPath": format!("/atsign/{name}")});
        let security = json!({"readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
        let deployment: Deployment = of(json!({"spec": {"selector": {}, "template": {
        "metadata": {"labels": {"app.kubernetes.io/name": "atsign-secondary", "app.kubernetes.io/instance": "alice",
            "sidecar.istio.io/inject": "false"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "securityContext": {"runAsNonRoot": true, "fsGroup": 65532},
            "volumes": [{"name": "storage", "persistentVolumeClaim": {"claimName": "alice"}},
                {"name": "activation", "secret": {"secretName": "alice-activation"}}],
            "containers": [{"name": "secondary", "image": "atsign-secondary:1", "args": ["--at-sign", "@alice"],
                "ports": [{"containerPort": 6464}], "livenessProbe": {}, "securityContext": security,
                "resources": {"limits": {"memory": "6Mi"}}, "volumeMounts": [mount("storage"), mount("activation")]}]
        }}}}));
        let identity = Identity::parse("@alice").unwrap();
        let pod = serde_json::to_value(build(&at_sign, &identity, &deployment, true).unwrap()).unwrap();
        let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("alice-restore"), &json!("home")));
        assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "atsign-restore", "no Service leads to it");
        assert_eq!(metadata["labels"]["sidecar.istio.io/inject"], "false");
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u-1");
        assert_eq!(spec["nodeSelector"], json!({"disk": "ssd"}));
        assert_eq!(spec["securityContext"], json!({"runAsNonRoot": true, "fsGroup": 65532}));
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(
            spec["volumes"],
            json!([{"name": "storage", "persistentVolumeClaim": {"claimName": "alice"}}])
        );
        assert_eq!(
            spec["containers"],
            json!([{"name": "restore", "image": "atsign-secondary:1", "stdin": true, "stdinOnce": true,
                "args": ["restore", "--at-sign", "@alice", "--from", "-", "--force"], "securityContext": security,
                "resources": {"limits": {"memory": "6Mi"}}, "volumeMounts": [mount("storage")]}])
        );
    }

    #[test]
    fn a_pod_that_was_evicted_has_ended_too() {
        let pod = |status: Value| -> Pod { of(json!({"status": status})) };
        let with = |state: Value| {
            pod(
                json!({"phase": "Running", "containerStatuses": [{"name": "restore", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": state}]}),
            )
        };
        let running = with(json!({"running": {}}));
        assert!(has_started(&running) && exit_code(&running).is_none());
        assert_eq!(exit_code(&with(json!({"terminated": {"exitCode": 75}}))), Some(75));
        assert_eq!(exit_code(&pod(json!({"phase": "Failed", "reason": "Evicted"}))), Some(137));
        let waits = with(json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}));
        assert!(!has_started(&waits));
        assert_eq!(waits_for(&waits), "ErrImagePull not found");
    }
}
