//! Why an AtSign cannot be served: what its status says, and how soon that may be over.

use atsign_protocol::at_sign;

use crate::leaf::Unfit;

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
