//! What keeps clients from a server whose pod is ready: a load balancer that has not come, a Gateway that takes no route.
//! Pure.

use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;
use serde_json::Value;

use crate::condition::{Because, Progress};
use crate::validate::Server;
use crate::validate::exposure::{Way, given};

/// What is missing of the way in, if anything.
pub fn find(server: &Server, service: &Service, route: Option<&DynamicObject>) -> Option<Progress> {
    let (namespace, name) = (&server.namespace, &server.name);
    match &server.exposure.way {
        Way::LoadBalancer if given(service).is_empty() => Some(Progress::Reconciling(Because::new(
            "LoadBalancerPending",
            format!(
                "waiting until the cluster gives Service {name} a load balancer; if none comes, see `kubectl describe service -n {namespace} {name}`: a cluster without a cloud needs a controller for it, such as MetalLB, or another spec.expose.type"
            ),
        ))),
        Way::ClusterIp | Way::NodePort | Way::LoadBalancer => None,
        Way::TlsRoute { namespace: of, gateway, section, .. } => {
            let parent = Parent { namespace: of, gateway, section: section.as_deref() };
            parent.problem(route?, namespace, name)
        }
    }
}

/// The Gateway as a route's status names it.
struct Parent<'a> {
    namespace: &'a str,
    gateway: &'a str,
    section: Option<&'a str>,
}

impl Parent<'_> {
    fn problem(&self, route: &DynamicObject, namespace: &str, name: &str) -> Option<Progress> {
        let parents = route.data["status"]["parents"].as_array().map(Vec::as_slice).unwrap_or_default();
        let generation = route.metadata.generation;
        let said = parents.iter().find(|parent| self.is(&parent["parentRef"], namespace));
        // What was said of an earlier route is not of this one.
        let fresh = |condition: &&Value| {
            condition["observedGeneration"].as_i64().is_none_or(|of| Some(of) == generation)
        };
        let condition = |type_: &str| {
            let conditions = said?["conditions"].as_array()?;
            conditions.iter().filter(fresh).find(|condition| condition["type"] == type_)
        };
        let (of, gateway) = (self.namespace, self.gateway);
        let because = |condition: &Value| {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", text("reason"), text("message"))
        };
        match condition("Accepted") {
            None => Some(Progress::Reconciling(Because::new(
                "RoutePending",
                format!(
                    "waiting until the controller of Gateway {of}/{gateway} takes TLSRoute {name}; if it does not, it may not serve TLSRoute in the version that this cluster has (kubectl describe tlsroute -n {namespace} {name})"
                ),
            ))),
            Some(accepted) if accepted["status"] != "True" => Some(Progress::Troubled(Because::new(
                "RouteNotAccepted",
                format!(
                    "Gateway {of}/{gateway} does not take TLSRoute {name} ({}); its listener must allow routes of kind TLSRoute from namespace {namespace} (allowedRoutes) and this hostname",
                    because(accepted)
                ),
            ))),
            Some(_) => {
                condition("ResolvedRefs").filter(|resolved| resolved["status"] == "False").map(|resolved| {
                    Progress::Troubled(Because::new(
                        "RouteNotResolved",
                        format!(
                            "Gateway {of}/{gateway} cannot send to Service {name} ({})",
                            because(resolved)
                        ),
                    ))
                })
            }
        }
    }

    /// Whether a status speaks of this Gateway; a namespace that is left out is the route's.
    fn is(&self, parent: &Value, namespace: &str) -> bool {
        parent["name"] == self.gateway
            && parent["namespace"].as_str().unwrap_or(namespace) == self.namespace
            && parent["sectionName"].as_str() == self.section
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(generation: i64, parents: &Value) -> Option<&'static str> {
        let route =
            json!({"metadata": {"name": "alice", "generation": generation}, "status": {"parents": parents}});
        let route = serde_json::from_value(route).expect("a route");
        let parent = Parent { namespace: "gateways", gateway: "shared", section: None };
        parent.problem(&route, "home", "alice").map(|progress| progress.because().reason)
    }

    fn says(type_: &str, status: &str) -> Value {
        json!({"type": type_, "status": status, "reason": "Why", "message": "because", "observedGeneration": 2})
    }

    #[test]
    fn a_route_is_served_once_its_gateway_says_so_of_this_generation() {
        let parent = |conditions: &[Value]| json!([{"parentRef": {"name": "shared", "namespace": "gateways"}, "controllerName": "x", "conditions": conditions}]);
        let yes = says("Accepted", "True");
        assert_eq!(reason(2, &json!([])), Some("RoutePending"));
        assert_eq!(reason(2, &parent(std::slice::from_ref(&yes))), None);
        assert_eq!(
            reason(3, &parent(std::slice::from_ref(&yes))),
            Some("RoutePending"),
            "it is of the route before"
        );
        assert_eq!(reason(2, &parent(&[says("Accepted", "False")])), Some("RouteNotAccepted"));
        assert_eq!(
            reason(2, &parent(&[yes.clone(), says("ResolvedRefs", "False")])),
            Some("RouteNotResolved")
        );
        let other = json!([{"parentRef": {"name": "shared"}, "conditions": [yes]}]);
        assert_eq!(reason(2, &other), Some("RoutePending"), "a Gateway of that name in another namespace");
    }
}
