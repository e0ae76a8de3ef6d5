//! The pod of a server: small, alone, without rights.

use std::collections::BTreeMap;

use atsign_crds::{name::RESTART_ANNOTATION, quantity};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, ContainerResizePolicy, EnvVar,
    EnvVarSource, HTTPGetAction, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::deployment::MadeWith;
use super::other_image;
use crate::names;
use crate::options::Options;
use crate::validate::Server;

/// The atProtocol.
pub const PORT: i32 = 6464;
/// Health, usage and metrics, plain HTTP.
pub const ADMIN_PORT: i32 = 9464;
/// The container of the server.
pub const CONTAINER: &str = "secondary";
/// The user and group of the images.
const USER: i64 = 65532;
/// Files of Secrets: for the owner and the group, which is [`USER`].
const SECRET_MODE: i32 = 0o440;
/// What an idle server needs of a processor, in Kubernetes' spelling. No limit, so the class of service (Burstable) never changes.
const CPU: &str = "5m";

/// Builds it.
pub fn build(server: &Server, made_with: &MadeWith, options: &Options) -> PodTemplateSpec {
    let pod = made_with.pod.clone();
    let mut labels = pod.labels.unwrap_or_default();
    labels.extend(names::labels(&server.name));
    labels.extend(no_sidecar());
    let mut annotations = pod.annotations.unwrap_or_default();
    annotations.extend(no_sidecar());
    if let Some(restart) = &server.restart {
        annotations.insert(RESTART_ANNOTATION.to_owned(), restart.clone());
    }
    if let Some(moved) = &made_with.moved {
        annotations.insert(names::MOVED.to_owned(), moved.at.to_string());
    }
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(30),
            security_context: Some(pod_security(Some(USER))),
            containers: vec![container(server, made_with.memory, options)],
            volumes: Some(volumes(server)),
            affinity: pod.affinity,
            image_pull_secrets: some(pod.image_pull_secrets),
            node_selector: pod.node_selector,
            priority_class_name: pod.priority_class_name,
            runtime_class_name: pod.runtime_class_name,
            tolerations: some(pod.tolerations),
            ..PodSpec::default()
        }),
    }
}

fn container(server: &Server, memory: u64, options: &Options) -> Container {
    let ours = server.image.is_none();
    let (args, env) = if ours {
        (arguments(server, options), vec![holder()])
    } else {
        (other_image::arguments(server), other_image::environment(server, options))
    };
    let probe = |path| if ours { probe(path) } else { other_image::probe() };
    let admin = ours.then(|| port("admin", ADMIN_PORT));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(server.image.clone().unwrap_or_else(|| options.secondary_image.clone())),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(args),
        env: Some(env),
        ports: Some(std::iter::once(port("atprotocol", PORT)).chain(admin).collect()),
        resources: Some(resources(memory)),
        resize_policy: Some(["cpu", "memory"].map(resize_in_place).into()),
        // The server answers within moments; how long it may wait for its store is the readiness probe's matter.
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(60),
            ..probe("/healthz")
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(3),
            ..probe("/healthz")
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            failure_threshold: Some(2),
            ..probe("/readyz")
        }),
        security_context: Some(container_security()),
        volume_mounts: Some(vec![
            mount("storage", "/atsign/storage", false),
            mount("certs", "/atsign/certs", true),
            mount("activation", "/atsign/activation", true),
            mount("config", "/atsign/config", true),
            mount("admin", "/atsign/admin", true),
        ]),
        ..Container::default()
    }
}

/// The pod is who holds the store.
fn holder() -> EnvVar {
    EnvVar {
        name: "ATSIGN_HOLDER_ID".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "metadata.uid".to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn arguments(server: &Server, options: &Options) -> Vec<String> {
    let directory = options.directory();
    let flags = [
        ("--at-sign", server.at_sign.as_str()),
        ("--shared-secret-file", "/atsign/activation/cram"),
        ("--tls-cert", "/atsign/certs/tls.crt"),
        ("--tls-key", "/atsign/certs/tls.key"),
        ("--peer-ca", "/atsign/config/peer-ca.crt"),
        ("--directory", &directory),
        ("--limits-dir", "/atsign/config"),
        ("--log-dir", "/atsign/storage/logs"),
        ("--storage-dir", "/atsign/storage"),
        ("--admin-token-file", "/atsign/admin/token"),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect()
}

/// Secrets and the ConfigMap are mounted as directories: a file of a subPath would never change.
fn volumes(server: &Server) -> Vec<Volume> {
    let secret = |name: &str, secret: &str| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(SECRET_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    vec![
        Volume {
            name: "storage".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: server.storage.claim(&server.name).to_owned(),
                read_only: None,
            }),
            ..Volume::default()
        },
        secret("certs", server.tls.secret()),
        secret("activation", server.activation.secret()),
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::config(&server.name),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        secret("admin", &names::admin(&server.name)),
    ]
}

/// Memory as request and limit, so that the size that was sold is there; a processor as request only.
pub(super) fn resources(memory: u64) -> ResourceRequirements {
    let memory = ("memory".to_owned(), Quantity(quantity::display(memory)));
    ResourceRequirements {
        limits: Some([memory.clone()].into()),
        requests: Some([memory, ("cpu".to_owned(), Quantity(CPU.to_owned()))].into()),
        ..ResourceRequirements::default()
    }
}

/// What Pod Security `restricted` asks of a container, and a root file system that cannot be written.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// What Pod Security `restricted` asks of a pod; with `group` volumes are made writable for that group, once.
pub(super) fn pod_security(group: Option<i64>) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: group,
        fs_group_change_policy: group.map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// A service mesh's sidecar would take many times the memory of the server, and its TLS is the server's own.
pub(super) fn no_sidecar() -> BTreeMap<String, String> {
    [("sidecar.istio.io/inject".to_owned(), "false".to_owned())].into()
}

fn port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn resize_in_place(resource: &str) -> ContainerResizePolicy {
    ContainerResizePolicy { resource_name: resource.to_owned(), restart_policy: "NotRequired".to_owned() }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
