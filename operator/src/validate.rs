//! Second step: decides what is to run, or why nothing can. Pure: what needs another object was read before.

mod claim;
mod error;
pub mod exposure;
mod names_taken;
mod quota;
mod secrets;
mod tier;

use atsign_crds::{AtSign, DeletionPolicy, Limits, PodSettings};
use atsign_protocol::at_sign;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};

pub use claim::Storage;
pub use error::Error;
use exposure::Exposure;

use crate::condition::Because;
use crate::dereference::Observed;
use crate::memory::ladder;

/// The port that clients use where nothing else is said.
pub const PORT: u16 = 6464;

/// Where the certificate or the CRAM secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator makes it, in the Secret of this name.
    Generated(String),
    /// A user keeps it, in the Secret of this name.
    Kept(String),
    /// cert-manager makes it, in the Secret of this name.
    Issued(String),
}

impl Source {
    /// The Secret's name.
    pub fn secret(&self) -> &str {
        match self {
            Self::Generated(name) | Self::Kept(name) | Self::Issued(name) => name,
        }
    }
}

/// What is to run for one AtSign.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name of the AtSign and of most that is made for it.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// What its children say of whose they are.
    pub owner: OwnerReference,
    /// The atSign, normalised.
    pub at_sign: at_sign::AtSign,
    /// The tier in force; `None` is the built-in one.
    pub tier: Option<String>,
    /// What memory the server starts with, and the most that it may have.
    pub memory: ladder::Limits,
    /// Whether it is replaced where its node has no room for it to grow.
    pub moves: bool,
    /// Another server's image, where the AtSign names one.
    pub image: Option<String>,
    /// The tier's settings of pods.
    pub pod: PodSettings,
    /// What the server enforces.
    pub limits: Limits,
    /// Where the data is.
    pub storage: Storage,
    /// Why the claim has another size than the one that is wanted.
    pub size_differs: Option<Because>,
    /// What becomes of it.
    pub deletion_policy: DeletionPolicy,
    /// No pods, data kept.
    pub suspend: bool,
    /// The value of the annotation that asks for a restart.
    pub restart: Option<String>,
    /// Where the CRAM secret comes from.
    pub activation: Source,
    /// Where the certificate comes from.
    pub tls: Source,
    /// How clients come to it.
    pub exposure: Exposure,
    /// Every name that the certificate carries, that which clients use first.
    pub names: Vec<String>,
}

/// The normalised atSign that an AtSign stands for, if it is one.
pub fn identity(at_sign: &AtSign) -> Option<at_sign::AtSign> {
    at_sign::AtSign::parse(&effective(at_sign)).ok()
}

fn effective(at_sign: &AtSign) -> String {
    at_sign.spec.at_sign.clone().unwrap_or_else(|| format!("@{}", at_sign.name_any()))
}

/// Decides.
pub fn validate(
    at_sign: &AtSign,
    observed: &Observed,
    cluster_domain: &str,
    now: Timestamp,
) -> Result<Server, Error> {
    let written = effective(at_sign);
    let identity =
        at_sign::AtSign::parse(&written).map_err(|why| Error::InvalidAtSign { at_sign: written, why })?;
    is_first(at_sign, &identity, observed)?;
    is_served(at_sign)?;
    let tier = tier::choose(at_sign, observed)?;
    names_taken::check(at_sign, observed)?;

    let name = at_sign.name_any();
    let namespace = at_sign.namespace().unwrap_or_default();
    let service = service_host(at_sign, cluster_domain);
    let exposure = exposure::choose(at_sign, observed, &service)?;
    let storage = claim::choose(at_sign, &identity, &tier, observed)?;
    Ok(Server {
        memory: tier.memory,
        moves: tier.moves,
        image: at_sign.spec.image.clone(),
        limits: quota::limits(&tier, &storage, observed)?,
        size_differs: claim::size_differs(at_sign, &tier, observed),
        storage,
        activation: secrets::activation(at_sign, observed)?,
        tls: secrets::tls(at_sign, observed, exposure.host.as_deref(), now)?,
        tier: tier.name,
        pod: tier.pod,
        uid: at_sign.uid().unwrap_or_default(),
        owner: at_sign.controller_owner_ref(&()).unwrap_or_default(),
        at_sign: identity,
        deletion_policy: at_sign.spec.deletion_policy.unwrap_or_default(),
        suspend: at_sign.spec.suspend.unwrap_or_default(),
        restart: at_sign.annotations().get(atsign_crds::name::RESTART_ANNOTATION).cloned(),
        name,
        namespace,
        names: names(at_sign, exposure.host.as_deref(), service),
        exposure,
    })
}

/// The Service's whole name.
pub fn service_host(at_sign: &AtSign, cluster_domain: &str) -> String {
    let (name, namespace) = (at_sign.name_any(), at_sign.namespace().unwrap_or_default());
    format!("{name}.{namespace}.svc.{cluster_domain}")
}

/// What the certificate carries: the name that clients use, the one that the directory still gives until the server
/// answers by the new one, and the Service's.
fn names(at_sign: &AtSign, host: Option<&str>, service: String) -> Vec<String> {
    let (name, namespace) = (at_sign.name_any(), at_sign.namespace().unwrap_or_default());
    let published =
        at_sign.status.as_ref().and_then(|status| status.address.as_deref()).map(exposure::host_of);
    let own = [service, format!("{name}.{namespace}.svc"), format!("{name}.{namespace}"), name];
    let mut names: Vec<String> = Vec::new();
    for name in host.into_iter().chain(published).map(str::to_owned).chain(own) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What a certificate of somebody else's authority carries: as [`names`], but no name that only this cluster knows beside
/// one that others know too, for public authorities sign none of those.
pub fn certified(at_sign: &AtSign, host: Option<&str>, service: &str) -> Vec<String> {
    let host = host.unwrap_or(service);
    let published =
        at_sign.status.as_ref().and_then(|status| status.address.as_deref()).map(exposure::host_of);
    let before = published.filter(|published| *published != host && *published != service);
    std::iter::once(host).chain(before).map(str::to_owned).collect()
}

/// Of two that claim an atSign the older keeps it: by creation time, then by UID, so that every reader agrees.
fn is_first(at_sign: &AtSign, identity: &at_sign::AtSign, observed: &Observed) -> Result<(), Error> {
    let own = (at_sign.creation_timestamp(), at_sign.uid().unwrap_or_default());
    let older = observed.rivals.iter().filter(|rival| (rival.created.clone(), rival.uid.clone()) < own);
    match older.min_by_key(|rival| (rival.created.clone(), rival.uid.clone())) {
        None => Ok(()),
        Some(owner) => Err(Error::AtSignTaken { at_sign: identity.to_string(), owner: owner.object.clone() }),
    }
}

/// Refuses what a later version serves: better than to ignore what somebody relies on.
fn is_served(at_sign: &AtSign) -> Result<(), Error> {
    let spec = &at_sign.spec;
    let later = [("spec.backup", spec.backup.is_some()), ("spec.restoreFrom", spec.restore_from.is_some())];
    match later.into_iter().find(|(_, set)| *set) {
        None => Ok(()),
        Some((field, _)) => Err(Error::NotYetSupported(field.to_owned())),
    }
}
