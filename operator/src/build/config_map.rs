//! ConfigMap `<name>-config`: what reaches a running server without a restart.

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::authority::Authority;
use crate::names;
use crate::validate::Server;

/// Builds it. No limits are sold yet, so the server's own are in force.
pub fn build(server: &Server, authority: &Authority) -> ConfigMap {
    let data = [("limits.json".to_owned(), "{}".to_owned()), ("peer-ca.crt".to_owned(), authority.bundle())];
    ConfigMap {
        metadata: metadata(server, &names::config(&server.name)),
        data: Some(data.into()),
        ..ConfigMap::default()
    }
}
