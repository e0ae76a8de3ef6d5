//! How clients come to the server, and by which name: `spec.expose`, with what the cluster has given for it.

use std::collections::BTreeMap;

use atsign_crds::{AtSign, Expose, ExposeType};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::core::{ApiResource, DynamicObject};

use super::{Error, PORT};
use crate::dereference::Observed;
use crate::dereference::extension::Extension;

/// How clients come to the server.
#[derive(Clone, Debug)]
pub struct Exposure {
    /// By which way.
    pub way: Way,
    /// The name that clients use; none while a load balancer has given none.
    pub host: Option<String>,
    /// The port that clients use, where it is said.
    pub port: Option<u16>,
    /// The name that a person chose.
    pub hostname: Option<String>,
    /// Annotations for the Service or the `TLSRoute`.
    pub annotations: BTreeMap<String, String>,
}

/// The ways.
#[derive(Clone, Debug)]
pub enum Way {
    /// Inside the cluster only.
    ClusterIp,
    /// A port of every node.
    NodePort,
    /// A load balancer of the cloud.
    LoadBalancer,
    /// SNI passthrough at a Gateway.
    TlsRoute {
        /// What `TLSRoute`s are called in this cluster.
        api: ApiResource,
        /// The Gateway's namespace.
        namespace: String,
        /// The Gateway's name.
        gateway: String,
        /// Its listener, where it is said.
        section: Option<String>,
        /// The port of that listener.
        port: u16,
    },
}

impl Exposure {
    /// The host and the port that clients use, once all of it is known.
    pub fn place(&self, service: &Service) -> Option<(&str, u16)> {
        let host = self.host.as_deref()?;
        let port = match &self.way {
            Way::ClusterIp | Way::LoadBalancer => self.port.unwrap_or(PORT),
            Way::NodePort => {
                u16::try_from(service.spec.as_ref()?.ports.as_ref()?.first()?.node_port?).ok()?
            }
            Way::TlsRoute { port, .. } => self.port.unwrap_or(*port),
        };
        Some((host, port))
    }

    /// What the directory answers: the host, and the port if it is not 6464.
    pub fn address(&self, service: &Service) -> Option<String> {
        match self.place(service)? {
            (host, PORT) => Some(host.to_owned()),
            (host, port) => Some(with_port(host, port)),
        }
    }
}

/// `host:port`, an IPv6 address in brackets.
pub fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The host of an address as a status gives it: without the port, and without the brackets of an IPv6 address.
pub fn host_of(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        Some((host, _)) if host.ends_with(']') => host.trim_start_matches('[').trim_end_matches(']'),
        _ => address,
    }
}

/// Decides. `service` is the name that the Service has in the cluster.
pub fn choose(at_sign: &AtSign, observed: &Observed, service: &str) -> Result<Exposure, Error> {
    let expose = at_sign.spec.expose.clone().unwrap_or_default();
    let way = match expose.type_.unwrap_or_default() {
        ExposeType::ClusterIp => Way::ClusterIp,
        ExposeType::NodePort => Way::NodePort,
        ExposeType::LoadBalancer => Way::LoadBalancer,
        ExposeType::TlsRoute => tls_route(at_sign, &expose, observed)?,
    };
    let hostname = expose.hostname;
    let host = match (&hostname, &way) {
        (Some(hostname), _) => Some(hostname.clone()),
        (None, Way::LoadBalancer) => balanced(at_sign, observed.service.as_ref()),
        (None, _) => Some(service.to_owned()),
    };
    Ok(Exposure {
        way,
        host,
        hostname,
        port: expose.port.and_then(|port| u16::try_from(port).ok()),
        annotations: expose.annotations.unwrap_or_default(),
    })
}

/// What the cloud calls the load balancer. Where it gives several names, the one that is published stays.
fn balanced(at_sign: &AtSign, service: Option<&Service>) -> Option<String> {
    let given = given(service?);
    let published = at_sign.status.as_ref().and_then(|status| status.address.as_deref()).map(host_of);
    let kept = given.iter().find(|name| Some(name.as_str()) == published);
    kept.or(given.first()).cloned()
}

/// The names and addresses of a load balancer that is there.
pub fn given(service: &Service) -> Vec<String> {
    let is_balanced = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let status = service.status.as_ref().filter(|_| is_balanced);
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.clone());
    ingress.unwrap_or_default().into_iter().filter_map(|ingress| ingress.hostname.or(ingress.ip)).collect()
}

fn tls_route(at_sign: &AtSign, expose: &Expose, observed: &Observed) -> Result<Way, Error> {
    let api = match &observed.route_api {
        Extension::Served(api) => api.clone(),
        Extension::Off => return Err(Error::GatewayApiOff),
        Extension::Missing => return Err(Error::GatewayApiMissing),
    };
    let wanted = expose.gateway_ref.clone().unwrap_or_default();
    let namespace = wanted.namespace.or_else(|| at_sign.namespace()).unwrap_or_default();
    let name = format!("{namespace}/{}", wanted.name);
    let gateway = observed.gateway.as_ref().ok_or_else(|| Error::GatewayNotFound(name.clone()))?;
    let hostname = expose.hostname.as_deref().unwrap_or_default();
    let port = listener(gateway, wanted.section_name.as_deref(), hostname)
        .map_err(|why| Error::GatewayUnfit { gateway: name, why })?;
    Ok(Way::TlsRoute { api, namespace, gateway: wanted.name, section: wanted.section_name, port })
}

/// The port of the listener that passes TLS for `hostname` through.
fn listener(gateway: &DynamicObject, section: Option<&str>, hostname: &str) -> Result<u16, String> {
    let listeners = gateway.data["spec"]["listeners"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named: Vec<_> = listeners
        .iter()
        .filter(|listener| section.is_none_or(|section| listener["name"] == section))
        .collect();
    if let (Some(section), []) = (section, named.as_slice()) {
        return Err(format!("it has no listener {section}"));
    }
    let passing = named
        .iter()
        .filter(|listener| listener["protocol"] == "TLS" && listener["tls"]["mode"] == "Passthrough");
    let mut passing = passing.peekable();
    if passing.peek().is_none() {
        return Err("it has no listener with protocol TLS and tls.mode Passthrough".to_owned());
    }
    passing
        .find(|listener| covers(listener["hostname"].as_str(), hostname))
        .and_then(|listener| listener["port"].as_u64().and_then(|port| u16::try_from(port).ok()))
        .ok_or_else(|| format!("none of its listeners is for {hostname}"))
}

/// Whether a listener's hostname stands for `hostname`: none is for all, a wildcard for any number of labels.
fn covers(listener: Option<&str>, hostname: &str) -> bool {
    match listener {
        None | Some("") => true,
        Some(listener) => match listener.strip_prefix('*') {
            Some(suffix) => hostname.ends_with(suffix) && hostname.len() > suffix.len(),
            None => listener == hostname,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn gateway(listeners: &Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": "g"}, "spec": {"listeners": listeners}}))
            .expect("a Gateway")
    }

    #[test]
    fn the_port_of_a_route_is_that_of_the_listener_which_passes_its_name_through() {
        let gateway = gateway(&json!([
            {"name": "web", "protocol": "HTTPS", "port": 443},
            {"name": "ours", "protocol": "TLS", "port": 6464, "hostname": "*.example.com", "tls": {"mode": "Passthrough"}},
            {"name": "all", "protocol": "TLS", "port": 8443, "tls": {"mode": "Passthrough"}}]));
        assert_eq!(listener(&gateway, None, "alice.example.com"), Ok(6464));
        assert_eq!(listener(&gateway, None, "alice.example.org"), Ok(8443));
        assert_eq!(listener(&gateway, Some("all"), "alice.example.com"), Ok(8443));
        for (section, hostname, says) in [
            (Some("none"), "alice.example.com", "no listener none"),
            (Some("web"), "alice.example.com", "tls.mode Passthrough"),
            (Some("ours"), "alice.example.org", "none of its listeners is for alice.example.org"),
        ] {
            let why = listener(&gateway, section, hostname).expect_err("unfit");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn an_address_says_its_port_where_clients_could_not_guess_it() {
        let exposure = |host: &str, port| Exposure {
            way: Way::LoadBalancer,
            host: Some(host.to_owned()),
            port,
            hostname: None,
            annotations: BTreeMap::new(),
        };
        for (host, port, address) in [
            ("alice.example.com", None, "alice.example.com"),
            ("alice.example.com", Some(6464), "alice.example.com"),
            ("alice.example.com", Some(443), "alice.example.com:443"),
            ("fd00::1", None, "fd00::1"),
            ("fd00::1", Some(443), "[fd00::1]:443"),
        ] {
            assert_eq!(exposure(host, port).address(&Service::default()).as_deref(), Some(address));
            assert_eq!(host_of(address), host);
        }
    }
}
