//! Second step: decides what is to run, or why nothing can. Pure: what needs another object was read before.

mod claim;
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
use exposure::Exposure;

use crate::condition::Because;
use crate::dereference::Observed;
use crate::leaf::Unfit;
use crate::memory::ladder;

/// The port that clients use where nothing else is said.
pub const PORT: u16 = 6464;

/// Why an AtSign cannot be served as it is written. Every text says what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field that this version does not serve yet.
    #[error("{0} is not served by this version of the operator yet; remove it")]
    NotYetSupported(String),
    /// The atSign is none.
    #[error("{at_sign:?} is not an atSign: {why}; make another AtSign with a name that is one")]
    InvalidAtSign {
        /// What was written.
        at_sign: String,
        /// What is wrong with it.
        why: at_sign::InvalidAtSign,
    },
    /// An older AtSign has it.
    #[error(
        "{at_sign} belongs to AtSign {owner}, which is older; delete this one, or that one if this one is meant"
    )]
    AtSignTaken {
        /// The normalised atSign.
        at_sign: String,
        /// Namespace and name of who has it.
        owner: String,
    },
    /// No such tier.
    #[error("there is no AtSignTier {0}; create it, or name another in spec.tier (kubectl get atsigntiers)")]
    TierNotFound(String),
    /// The tier is not for this namespace.
    #[error(
        "AtSignTier {tier} is not for namespace {namespace}: its namespaceSelector does not match; name another in spec.tier, or have the namespace labelled"
    )]
    TierNotAllowed {
        /// The tier.
        tier: String,
        /// The AtSign's namespace.
        namespace: String,
    },
    /// The tier does not let an AtSign name its own image.
    #[error(
        "spec.image is set, but {0} allows no other image than the operator's; remove it, or choose a tier with allowCustomImage"
    )]
    ImageNotAllowed(String),
    /// Memory or storage that the tier does not sell.
    #[error(
        "{field} {value} is outside what {tier} allows ({range}); choose a value inside it, or another tier"
    )]
    OutsideTier {
        /// The field of the AtSign.
        field: &'static str,
        /// Its value.
        value: String,
        /// The tier, in words.
        tier: String,
        /// What it allows.
        range: String,
    },
    /// An object that is not ours stands in the way.
    #[error(
        "{kind} {name} exists already and does not belong to this AtSign; rename or delete it, or delete this AtSign and make one with another metadata.name (spec.atSign may stay)"
    )]
    NameTaken {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The claim keeps the data of another atSign.
    #[error(
        "PersistentVolumeClaim {claim} keeps the data of {at_sign}; choose another metadata.name or spec.storage.existingClaim, or delete that claim if its data is not needed any more"
    )]
    ClaimOfAnother {
        /// The claim.
        claim: String,
        /// Whose data it keeps.
        at_sign: String,
    },
    /// `storage.existingClaim` does not exist.
    #[error(
        "there is no PersistentVolumeClaim {0} in this namespace; create it, or remove spec.storage.existingClaim to have one made"
    )]
    ClaimNotFound(String),
    /// No such StorageClass.
    #[error("there is no StorageClass {0}; choose one of `kubectl get storageclass`")]
    StorageClassNotFound(String),
    /// No StorageClass is named and the cluster has no default.
    #[error(
        "no StorageClass is named and the cluster has no default one; set spec.storage.storageClassName, or mark a class as default (annotation storageclass.kubernetes.io/is-default-class: \"true\")"
    )]
    NoStorageClass,
    /// The Secret of `activation.secretName` is missing.
    #[error(
        "there is no Secret {0} in this namespace; create it: kubectl create secret generic {0} --from-literal=cram=$(openssl rand -hex 64), or remove spec.activation to have one generated"
    )]
    ActivationSecretNotFound(String),
    /// The Secret holds no CRAM secret.
    #[error(
        "Secret {0} has no key `cram` with 128 hexadecimal characters; write one: kubectl create secret generic {0} --from-literal=cram=$(openssl rand -hex 64)"
    )]
    ActivationSecretInvalid(String),
    /// The Secret of `tls.secretName` is missing.
    #[error(
        "there is no Secret {0} in this namespace; create it: kubectl create secret tls {0} --cert=… --key=…, or remove spec.tls to have the operator's own authority sign one"
    )]
    CertificateNotFound(String),
    /// The certificate does not serve.
    #[error(
        "the certificate in Secret {secret} cannot be used: {why}; put one there that names {address}, or remove spec.tls"
    )]
    CertificateInvalid {
        /// The Secret.
        secret: String,
        /// What is wrong.
        why: Unfit,
        /// The host that clients come to.
        address: String,
    },
    /// cert-manager is not what this operator may use.
    #[error(
        "spec.tls.issuerRef needs rights that this operator was not given: install the chart with certManager.enabled=true, or remove it to have the operator's own authority sign"
    )]
    CertManagerOff,
    /// The cluster has no cert-manager.
    #[error(
        "this cluster has no Certificate of cert-manager; install cert-manager, or remove spec.tls.issuerRef to have the operator's own authority sign"
    )]
    CertManagerMissing,
    /// cert-manager has not signed yet. Passes by itself, or cert-manager says why not.
    #[error(
        "waiting until cert-manager has Certificate {certificate} signed by {issuer}: {said}; if that lasts, see whether the issuer is there and ready: kubectl describe -n {namespace} {issuer} certificate/{certificate}"
    )]
    CertificatePending {
        /// The Certificate.
        certificate: String,
        /// Who is to sign it, as kubectl takes it.
        issuer: String,
        /// Its namespace.
        namespace: String,
        /// What cert-manager says.
        said: String,
    },
    /// `TLSRoute`s are not what this operator may use.
    #[error(
        "spec.expose.type TLSRoute needs rights that this operator was not given: install the chart with gatewayApi.enabled=true, or choose another type"
    )]
    GatewayApiOff,
    /// The cluster has no `TLSRoute`s.
    #[error(
        "this cluster has no TLSRoute of the Gateway API; install the Gateway API (1.5 or newer, or its experimental channel) and a gateway that serves TLSRoute, or choose another spec.expose.type"
    )]
    GatewayApiMissing,
    /// No such Gateway.
    #[error(
        "there is no Gateway {0}; create it, or name another in spec.expose.gatewayRef (kubectl get gateways --all-namespaces)"
    )]
    GatewayNotFound(String),
    /// The Gateway passes nothing through.
    #[error(
        "Gateway {gateway} cannot be used: {why}; give it a listener with protocol TLS, tls.mode Passthrough and this hostname, or name another in spec.expose.gatewayRef"
    )]
    GatewayUnfit {
        /// Its namespace and name.
        gateway: String,
        /// What it lacks.
        why: String,
    },
    /// What a deleted AtSign of this name left is still being removed. Passes by itself.
    #[error("waiting until {kind} {name} of an earlier AtSign with this name is removed")]
    CleanupPending {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Error {
    /// The reason that conditions, Events and metrics give.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotYetSupported(_) => "NotYetSupported",
            Self::InvalidAtSign { .. } => "InvalidAtSign",
            Self::AtSignTaken { .. } => "AtSignTaken",
            Self::TierNotFound(_) => "TierNotFound",
            Self::TierNotAllowed { .. } => "TierNotAllowed",
            Self::ImageNotAllowed(_) => "ImageNotAllowed",
            Self::OutsideTier { .. } => "OutsideTier",
            Self::NameTaken { .. } => "NameTaken",
            Self::ClaimOfAnother { .. } => "ClaimOfAnother",
            Self::ClaimNotFound(_) => "ClaimNotFound",
            Self::StorageClassNotFound(_) => "StorageClassNotFound",
            Self::NoStorageClass => "NoStorageClass",
            Self::ActivationSecretNotFound(_) => "ActivationSecretNotFound",
            Self::ActivationSecretInvalid(_) => "ActivationSecretInvalid",
            Self::CertificateNotFound(_) => "CertificateNotFound",
            Self::CertificateInvalid { .. } => "CertificateInvalid",
            Self::CertManagerOff => "CertManagerOff",
            Self::CertManagerMissing => "CertManagerMissing",
            Self::CertificatePending { .. } => "CertificatePending",
            Self::GatewayApiOff => "GatewayApiOff",
            Self::GatewayApiMissing => "GatewayApiMissing",
            Self::GatewayNotFound(_) => "GatewayNotFound",
            Self::GatewayUnfit { .. } => "GatewayUnfit",
            Self::CleanupPending { .. } => "CleanupPending",
        }
    }

    /// Whether it passes by itself, so that nobody has to do anything.
    pub fn passes(&self) -> bool {
        matches!(self, Self::CleanupPending { .. } | Self::CertificatePending { .. })
    }

    /// Whether all that could end it is watched, so that nobody has to look.
    pub fn is_heard(&self) -> bool {
        matches!(
            self,
            Self::NotYetSupported(_)
                | Self::InvalidAtSign { .. }
                | Self::TierNotFound(_)
                | Self::ImageNotAllowed(_)
                | Self::OutsideTier { .. }
                | Self::StorageClassNotFound(_)
                | Self::NoStorageClass
                | Self::CertManagerOff
                | Self::GatewayApiOff
                | Self::GatewayNotFound(_)
                | Self::GatewayUnfit { .. }
        )
    }
}

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
