//! Service `<name>`: the address of the server inside the cluster.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use super::template::PORT;
use crate::names;
use crate::validate::Server;

/// Builds it.
pub fn build(server: &Server) -> Service {
    let mut metadata = metadata(server, &server.name);
    if !server.service_annotations.is_empty() {
        metadata.annotations = Some(server.service_annotations.clone());
    }
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::selector(&server.name)),
            ports: Some(vec![ServicePort {
                name: Some("atprotocol".to_owned()),
                port: PORT,
                target_port: Some(IntOrString::String("atprotocol".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
