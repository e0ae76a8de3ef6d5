//! Third step: what is to run, as Kubernetes objects; a file each. Pure.

pub mod activation_secret;
pub mod admin_secret;
pub mod certificate;
pub mod claim;
pub mod config_map;
pub mod deployment;
pub mod export;
pub mod network_policy;
pub mod other_image;
pub mod service;
pub mod storage_job;
pub mod template;
pub mod tls_route;
pub mod tls_secret;
pub mod volume;

use std::marker::PhantomData;

use atsign_crds::DeletionPolicy;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;

use crate::authority::{self, Authority};
use crate::dereference::Observed;
use crate::names;
use crate::options::Options;
use crate::validate::{Server, Source, Storage};

/// Objects as they are to be.
#[derive(Clone, Copy, Debug)]
pub struct Prepared;
/// Objects as the cluster has them: only of these may a status speak.
#[derive(Clone, Copy, Debug)]
pub struct Applied;

/// Everything that one AtSign needs, in the order in which it is applied.
#[derive(Clone, Debug)]
pub struct Resources<Stage> {
    /// Limits and trusted certificates.
    pub config_map: ConfigMap,
    /// The CRAM secret, where it is generated.
    pub activation: Option<Secret>,
    /// The admin port's token.
    pub admin: Secret,
    /// The certificate, where the operator's authority signs it.
    pub tls: Option<Secret>,
    /// Who may reach the server.
    pub network_policy: NetworkPolicy,
    /// The Service.
    pub service: Service,
    /// The `TLSRoute`, where the server is behind a Gateway.
    pub route: Option<DynamicObject>,
    /// The claim, where one is made.
    pub claim: Option<PersistentVolumeClaim>,
    /// Volume and claim of the root of a tier's export, in the operator's namespace, while a directory is to be made.
    pub export: Option<(PersistentVolume, PersistentVolumeClaim)>,
    /// The Job that makes that directory.
    pub storage_job: Option<Job>,
    /// The volume of that directory, once it is there.
    pub volume: Option<PersistentVolume>,
    /// A provisioned volume and what is to become of it when its claim goes.
    pub reclaim: Option<(String, &'static str)>,
    /// The Deployment.
    pub deployment: Deployment,
    /// Whether the tier's pod settings wait for the next rollout.
    pub pod_settings_pending: bool,
    /// Where this is on its way.
    pub stage: PhantomData<Stage>,
}

/// Builds everything for `server`. `observed` decides what is kept of what exists: secrets, certificates, sizes.
pub fn build(
    server: &Server,
    observed: &Observed,
    authority: &Authority,
    options: &Options,
    now: Timestamp,
) -> Result<Resources<Prepared>, authority::Error> {
    let (deployment, pod_settings_pending) =
        deployment::build(server, observed.deployment.as_ref(), observed.asked_to_move.as_ref(), options);
    let tls = match &server.tls {
        Source::Kept(_) | Source::Issued(_) => None,
        Source::Generated(name) => Some(tls_secret::build(
            metadata(server, name),
            authority,
            &server.names,
            observed.tls.as_ref(),
            now,
        )?),
    };
    let mut resources = Resources {
        config_map: config_map::build(server, authority),
        activation: match &server.activation {
            Source::Kept(_) | Source::Issued(_) => None,
            Source::Generated(name) => {
                Some(activation_secret::build(server, name, observed.activation.as_ref()))
            }
        },
        admin: admin_secret::build(server, observed.admin.as_ref()),
        tls,
        network_policy: network_policy::build(server, options),
        service: service::build(server),
        route: tls_route::build(server),
        claim: None,
        export: None,
        storage_job: None,
        volume: None,
        reclaim: None,
        deployment,
        pod_settings_pending,
        stage: PhantomData,
    };
    match &server.storage {
        Storage::Existing { .. } => {}
        Storage::Class { size, class, access_mode } => {
            resources.claim =
                Some(claim::of_class(server, *size, class, access_mode, observed.claim.as_ref()));
            resources.reclaim = volume::reclaim(server, observed);
        }
        Storage::Nfs { size, server: nfs, root, directory } => {
            resources.claim = Some(claim::of_volume(server, *size));
            if observed.static_volume.is_some() || storage_job::succeeded(observed.storage_job.as_ref()) {
                resources.volume =
                    volume::of_directory(server, *size, nfs, root, directory, observed.claim.as_ref());
            } else {
                resources.export = Some(export::build(nfs, root, &options.namespace));
                resources.storage_job = Some(storage_job::init(server, nfs, root, directory, options));
            }
        }
    }
    Ok(resources)
}

/// The reclaim policy of volumes, as Kubernetes spells it.
pub fn reclaim_policy(policy: DeletionPolicy) -> &'static str {
    match policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    }
}

/// The metadata of a child that goes with its AtSign.
fn metadata(server: &Server, name: &str) -> ObjectMeta {
    ObjectMeta { owner_references: Some(vec![server.owner.clone()]), ..metadata_that_stays(server, name) }
}

/// The metadata of a child that outlives its AtSign.
fn metadata_that_stays(server: &Server, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(server.namespace.clone()),
        labels: Some(names::labels(&server.name)),
        ..ObjectMeta::default()
    }
}

/// `bytes` random bytes from the system's generator, in hexadecimal.
fn random_hex(bytes: usize) -> String {
    use rand::TryRngCore as _;
    let mut random = vec![0; bytes];
    // Without randomness there is no secret to give; ending the process is the only safe answer.
    rand::rngs::OsRng.try_fill_bytes(&mut random).expect("the system's random generator answers");
    random.iter().fold(String::with_capacity(2 * bytes), |text, byte| text + &format!("{byte:02x}"))
}
