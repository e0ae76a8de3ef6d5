//! A server behind a shared Gateway, against a real API server; the test is the gateway's controller and writes what it
//! makes of routes. A real gateway is in the suite `gateway`.

mod cluster;

use cluster::World;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The kinds of the Gateway API, as far as an operator sees of them.
async fn install_the_gateway_api(world: &World) {
    for (plural, kind) in [("gateways", "Gateway"), ("tlsroutes", "TLSRoute")] {
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let schema =
            json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}});
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}});
        let names = json!({"plural": plural, "kind": kind, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")});
        let spec = json!({"group": "gateway.networking.k8s.io", "scope": "Namespaced", "names": names, "versions": [version]});
        let annotations =
            json!({"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"});
        let name = format!("{plural}.gateway.networking.k8s.io");
        let body = json!({"metadata": {"annotations": annotations}, "spec": spec});
        world.apply("CustomResourceDefinition", &name, body).await;
    }
    // It is served a moment after it is stored.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    for kind in ["Gateway", "TLSRoute"] {
        while world.api(kind).list(&kube::api::ListParams::default()).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "{kind} is not served");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn controller_says(world: &World, accepted: &str, message: &str) {
    let route = world.get("TLSRoute", "alice").await.expect("the route");
    let condition = json!({"type": "Accepted", "status": accepted, "reason": "Said", "message": message,
        "observedGeneration": route["metadata"]["generation"], "lastTransitionTime": "2026-11-01T00:00:00Z"});
    let parents = json!([{"parentRef": route["spec"]["parentRefs"][0], "controllerName": "example.com/played",
        "conditions": [condition]}]);
    let status = Patch::Merge(json!({"status": {"parents": parents}}));
    world.api("TLSRoute").patch_status("alice", &PatchParams::default(), &status).await.expect("write it");
}

fn behind(gateway: &str, hostname: &str) -> Value {
    json!({"spec": {"expose": {"type": "TLSRoute", "hostname": hostname, "gatewayRef": {"name": gateway}}}})
}

#[tokio::test]
async fn an_atsign_behind_a_gateway_is_ready_once_the_gateway_takes_its_route() {
    let world = World::new().await;
    let operator = world.operator_as(cluster::faults::Faults::default(), &["--gateway-api"]).await;
    // A cluster without the Gateway API: who wants none does not notice, who wants it hears what to do.
    world.apply("AtSign", "bob", json!({"spec": {}})).await;
    world.until("bob", "True", "ServerReady").await;
    world.apply("AtSign", "alice", behind("shared", "alice.example.com")).await;
    world.until("alice", "False", "GatewayApiMissing").await;

    install_the_gateway_api(&world).await;
    let mut body = behind("shared", "alice.example.com");
    body["metadata"]["annotations"]["test/look"] = json!("again");
    world.apply("AtSign", "alice", body).await;
    world.until("alice", "False", "GatewayNotFound").await;
    operator.stop().await;

    let listener = json!({"name": "web", "port": 80, "protocol": "HTTP"});
    world.apply("Gateway", "shared", json!({"spec": {"listeners": [listener]}})).await;
    let operator = world.operator_as(cluster::faults::Faults::default(), &["--gateway-api"]).await;
    world.until("alice", "False", "GatewayUnfit").await;
    let listener =
        json!({"name": "atsigns", "port": 8443, "protocol": "TLS", "tls": {"mode": "Passthrough"}});
    world.apply("Gateway", "shared", json!({"spec": {"listeners": [listener.clone()]}})).await;
    let mut body = behind("shared", "alice.example.com");
    body["spec"]["expose"]["annotations"] = json!({"example.com/a": "b"});
    world.apply("AtSign", "alice", body.clone()).await;
    world.until("alice", "False", "RoutePending").await;
    let route = world.get("TLSRoute", "alice").await.expect("the route");
    assert_eq!(route["spec"]["hostnames"], json!(["alice.example.com"]));
    assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["name"], "alice");
    assert_eq!(route["spec"]["rules"][0]["backendRefs"][0]["port"], 6464);
    assert_eq!(route["spec"]["parentRefs"][0]["namespace"], world.namespace);
    assert_eq!(route["metadata"]["annotations"]["example.com/a"], "b");

    controller_says(&world, "False", "NotAllowedByListeners").await;
    let refused = world.until("alice", "False", "RouteNotAccepted").await.status.expect("a status");
    assert_eq!(refused.address, None);
    controller_says(&world, "True", "").await;
    let alice = world.until("alice", "True", "ServerReady").await.status.expect("a status");
    assert_eq!(alice.address.as_deref(), Some("alice.example.com:8443"));

    // A Gateway is watched: one that goes and comes back is noticed long before the next look.
    world.delete("Gateway", "shared").await;
    world.until("alice", "False", "GatewayNotFound").await;
    world.apply("Gateway", "shared", json!({"spec": {"listeners": [listener]}})).await;
    world.until("alice", "True", "ServerReady").await;

    // Who deletes it by hand finds it again.
    world.delete("TLSRoute", "alice").await;
    world.until("alice", "False", "RoutePending").await;
    controller_says(&world, "True", "").await;
    world.until("alice", "True", "ServerReady").await;
    world.until_at_rest().await;
    let quiet = operator.faults.writes();
    body["metadata"]["annotations"]["test/look"] = json!("once more");
    world.apply("AtSign", "alice", body).await;
    world.until_at_rest().await;
    assert_eq!(operator.faults.writes(), quiet, "{:?}", operator.faults.log());

    // The other way round nothing is left.
    world.apply("AtSign", "alice", json!({"spec": {"expose": {"type": "ClusterIP"}}})).await;
    world.until_gone("TLSRoute", "alice").await;
    let alice = world.until("alice", "True", "ServerReady").await.status.expect("a status");
    assert_eq!(alice.address, Some(format!("alice.{}.svc.cluster.local", world.namespace)));
    operator.stop().await;
    a_route_of_somebody_else_is_not_written_over().await;
}

/// Where the kinds are there already.
async fn a_route_of_somebody_else_is_not_written_over() {
    let world = World::new().await;
    let listener =
        json!({"name": "atsigns", "port": 8443, "protocol": "TLS", "tls": {"mode": "Passthrough"}});
    world.apply("Gateway", "shared", json!({"spec": {"listeners": [listener]}})).await;
    for name in ["alice", "bob"] {
        world.apply("TLSRoute", name, json!({"spec": {"hostnames": ["other.example.com"]}})).await;
    }
    let operator = world.operator_as(cluster::faults::Faults::default(), &["--gateway-api"]).await;
    world.apply("AtSign", "alice", behind("shared", "alice.example.com")).await;
    world.until("alice", "False", "NameTaken").await;
    world.apply("AtSign", "bob", json!({"spec": {}})).await;
    world.until("bob", "True", "ServerReady").await;
    world.until_at_rest().await;
    assert!(world.get("TLSRoute", "bob").await.is_some());
    operator.stop().await;
}
