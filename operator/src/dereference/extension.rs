//! Kinds that a cluster may have or not: those of the Gateway API and of cert-manager. Known by discovery, in whatever
//! version the cluster serves; a cluster that has none of it is none the worse.

use std::sync::{PoisonError, RwLock};

use kube::Client;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

/// Whether a kind can be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Extension {
    /// The operator was not told to use it, and has no rights.
    #[default]
    Off,
    /// The cluster does not have it.
    Missing,
    /// The cluster has it.
    Served(ApiResource),
}

impl Extension {
    /// The kind, if it can be used.
    pub fn served(&self) -> Option<&ApiResource> {
        if let Self::Served(api) = self { Some(api) } else { None }
    }
}

/// A kind that may be there, in the order in which its versions are preferred.
#[derive(Debug)]
pub struct Kind {
    group: &'static str,
    versions: &'static [&'static str],
    singular: &'static str,
    plural: &'static str,
    enabled: bool,
    /// Found once, it is believed: who removes the definition from a running cluster hears of it by errors.
    found: RwLock<Option<ApiResource>>,
}

impl Kind {
    /// `TLSRoute` of the Gateway API: v1 since 1.5, before that of its experimental channel.
    pub fn tls_route(enabled: bool) -> Self {
        let versions = &["v1", "v1alpha3", "v1alpha2"];
        Self::new("gateway.networking.k8s.io", versions, "TLSRoute", "tlsroutes", enabled)
    }

    /// `Gateway` of the Gateway API.
    pub fn gateway(enabled: bool) -> Self {
        Self::new("gateway.networking.k8s.io", &["v1"], "Gateway", "gateways", enabled)
    }

    /// `Certificate` of cert-manager.
    pub fn certificate(enabled: bool) -> Self {
        Self::new("cert-manager.io", &["v1"], "Certificate", "certificates", enabled)
    }

    fn new(
        group: &'static str,
        versions: &'static [&'static str],
        singular: &'static str,
        plural: &'static str,
        enabled: bool,
    ) -> Self {
        Self { group, versions, singular, plural, enabled, found: RwLock::new(None) }
    }

    /// Whether the operator was told to use it.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Looks whether it is there.
    pub async fn look(&self, client: &Client) -> kube::Result<Extension> {
        if !self.enabled {
            return Ok(Extension::Off);
        }
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(found) = found {
            return Ok(Extension::Served(found));
        }
        for version in self.versions {
            let served = match client.list_api_group_resources(&format!("{}/{version}", self.group)).await {
                Ok(served) => served,
                // A version that nobody serves is no Status, but a page that is not found.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            if served.resources.iter().any(|resource| resource.name == self.plural) {
                let kind = GroupVersionKind::gvk(self.group, version, self.singular);
                let api = ApiResource::from_gvk_with_plural(&kind, self.plural);
                *self.found.write().unwrap_or_else(PoisonError::into_inner) = Some(api.clone());
                return Ok(Extension::Served(api));
            }
        }
        Ok(Extension::Missing)
    }
}

/// What an object of such a kind says of whether it is ready.
pub fn ready_of(object: &DynamicObject) -> Option<&Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")
}
