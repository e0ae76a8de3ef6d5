//! NetworkPolicy `<name>`: the atProtocol for everybody, the admin port for the operator. The kubelet's probes come from
//! the node, which no policy stops.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use super::template::{ADMIN_PORT, PORT};
use crate::names;
use crate::options::Options;
use crate::validate::Server;

/// Builds it.
pub fn build(server: &Server, options: &Options) -> NetworkPolicy {
    let operator = LabelSelector {
        match_labels: Some([("kubernetes.io/metadata.name".to_owned(), options.namespace.clone())].into()),
        ..LabelSelector::default()
    };
    NetworkPolicy {
        metadata: metadata(server, &server.name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(names::selector(&server.name)),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule { ports: Some(vec![tcp(PORT)]), from: None },
                NetworkPolicyIngressRule {
                    ports: Some(vec![tcp(ADMIN_PORT)]),
                    from: Some(vec![NetworkPolicyPeer {
                        namespace_selector: Some(operator),
                        ..NetworkPolicyPeer::default()
                    }]),
                },
            ]),
            egress: None,
        }),
    }
}

fn tcp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(port)), protocol: Some("TCP".to_owned()), end_port: None }
}
