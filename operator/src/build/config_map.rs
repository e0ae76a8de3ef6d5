//! ConfigMap `<name>-config`: what reaches a running server without a restart.

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::authority::Authority;
use crate::names;
use crate::validate::Server;

/// Builds it. What the tier does not limit is left to the server's own limits.
pub fn build(server: &Server, authority: &Authority) -> ConfigMap {
    // Numbers under fixed names always serialise.
    let limits = serde_json::to_string(&server.limits).unwrap_or_default();
    let data = [
        ("limits.json".to_owned(), limits),
        ("peer-ca.crt".to_owned(), authority.bundle()),
        // So that a certificate for another replaces none that serves; empty until it is known.
        ("host".to_owned(), server.exposure.host.clone().unwrap_or_default()),
    ];
    ConfigMap {
        metadata: metadata(server, &names::config(&server.name)),
        data: Some(data.into()),
        ..ConfigMap::default()
    }
}
