//! Jobs in the operator's namespace that make and remove an atSign's directory on a tier's export: the kubelet would make
//! it as root, which ordinary exports squash, and a tenant's pod must not see the export's root.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::template;
use crate::names;
use crate::options::Options;
use crate::validate::Server;

/// Where the Job's pod sees the export's root.
const MOUNT: &str = "/export";
/// Bytes of memory of a Job's pod.
const MEMORY: u64 = 16 << 20;

/// What a Job does.
#[derive(Clone, Copy, Debug)]
enum Task {
    Init,
    Wipe,
}

/// The Job that makes the directory.
pub fn init(server: &Server, nfs: &str, root: &str, directory: &str, options: &Options) -> Job {
    let export = names::export(&options.namespace, nfs, root);
    build(
        Task::Init,
        names::init_job(&server.uid),
        (&server.namespace, &server.name),
        &export,
        directory,
        options,
    )
}

/// The Job that removes the directory and what is in it, for the AtSign `of`, a namespace and a name.
pub fn wipe(uid: &str, of: (&str, &str), nfs: &str, root: &str, directory: &str, options: &Options) -> Job {
    build(
        Task::Wipe,
        names::wipe_job(uid),
        of,
        &names::export(&options.namespace, nfs, root),
        directory,
        options,
    )
}

/// Whether a Job has done its work.
pub fn succeeded(job: Option<&Job>) -> bool {
    job.and_then(|job| job.status.as_ref()?.succeeded).unwrap_or_default() > 0
}

/// Why a Job gave up, if it did.
pub fn failure(job: Option<&Job>) -> Option<String> {
    let conditions = job?.status.as_ref()?.conditions.as_ref()?;
    let failed =
        conditions.iter().find(|condition| condition.type_ == "Failed" && condition.status == "True")?;
    Some(failed.message.clone().unwrap_or_default())
}

fn build(
    task: Task,
    name: String,
    of: (&str, &str),
    export: &str,
    directory: &str,
    options: &Options,
) -> Job {
    let verb = match task {
        Task::Init => "init",
        Task::Wipe => "wipe",
    };
    let labels = names::labels_elsewhere(of.0, of.1);
    let container = Container {
        name: "storage".to_owned(),
        image: Some(options.secondary_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(["storage", verb, "--root", MOUNT, "--dir", directory].map(str::to_owned).into()),
        resources: Some(template::resources(MEMORY)),
        security_context: Some(template::container_security()),
        volume_mounts: Some(vec![VolumeMount {
            name: "export".to_owned(),
            mount_path: MOUNT.to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    };
    let pod = PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Never".to_owned()),
        security_context: Some(template::pod_security(None)),
        containers: vec![container],
        volumes: Some(vec![Volume {
            name: "export".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: export.to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    };
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(options.namespace.clone()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            backoff_limit: Some(3),
            active_deadline_seconds: Some(300),
            // A Job that failed goes too, and is then tried again.
            ttl_seconds_after_finished: Some(120),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(template::no_sidecar()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}
