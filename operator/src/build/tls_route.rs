//! `TLSRoute` `<name>`: a shared Gateway sends TLS for this name to the Service, as it comes. By the Gateway API's JSON,
//! which is the same in every version that has been served.

use kube::core::DynamicObject;
use serde_json::json;

use super::metadata;
use super::template::PORT;
use crate::validate::Server;
use crate::validate::exposure::Way;

/// Builds it, where the server is behind a Gateway.
pub fn build(server: &Server) -> Option<DynamicObject> {
    let Way::TlsRoute { api, namespace, gateway, section, .. } = &server.exposure.way else { return None };
    let mut metadata = metadata(server, &server.name);
    if !server.exposure.annotations.is_empty() {
        metadata.annotations = Some(server.exposure.annotations.clone());
    }
    let mut parent = json!({
        "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": namespace, "name": gateway,
    });
    if let Some(section) = section {
        parent["sectionName"] = json!(section);
    }
    let backend = json!({"group": "", "kind": "Service", "name": server.name, "port": PORT, "weight": 1});
    let mut route = DynamicObject::new(&server.name, api);
    route.metadata = metadata;
    route.data = json!({"spec": {
        "parentRefs": [parent],
        "hostnames": [server.exposure.hostname],
        "rules": [{"backendRefs": [backend]}],
    }});
    Some(route)
}
