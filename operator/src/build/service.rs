//! Service `<name>`: the address of the server inside the cluster, and with `NodePort` and `LoadBalancer` the way in from
//! outside. Its type changes in place, so it keeps its cluster IP.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use super::template::PORT;
use crate::names;
use crate::validate::Server;
use crate::validate::exposure::Way;

/// The annotation from which `ExternalDNS` makes the record of a name.
const EXTERNAL_DNS_HOSTNAME: &str = "external-dns.alpha.kubernetes.io/hostname";

/// Builds it.
pub fn build(server: &Server) -> Service {
    let exposure = &server.exposure;
    let said = exposure.port.map(i32::from);
    let (type_, port, node_port) = match exposure.way {
        Way::ClusterIp => ("ClusterIP", said.unwrap_or(PORT), None),
        Way::LoadBalancer => ("LoadBalancer", said.unwrap_or(PORT), None),
        Way::NodePort => ("NodePort", PORT, said),
        Way::TlsRoute { .. } => ("ClusterIP", PORT, None),
    };
    let mut annotations = match exposure.way {
        Way::TlsRoute { .. } => std::collections::BTreeMap::new(),
        _ => exposure.annotations.clone(),
    };
    if let (Some(hostname), Way::NodePort | Way::LoadBalancer) = (&exposure.hostname, &exposure.way) {
        annotations.entry(EXTERNAL_DNS_HOSTNAME.to_owned()).or_insert_with(|| hostname.clone());
    }
    let mut metadata = metadata(server, &server.name);
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(names::selector(&server.name)),
            ports: Some(vec![ServicePort {
                name: Some("atprotocol".to_owned()),
                port,
                node_port,
                target_port: Some(IntOrString::String("atprotocol".to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
