//! The ways in from outside, against a real API server; the test is the cloud and writes what a load balancer is called.

mod cluster;

use atsign_operator::leaf;
use cluster::World;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// What the cloud says of the load balancer of a Service.
async fn cloud_gives(world: &World, name: &str, ingress: Value) {
    let status = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": ingress}}}));
    let services = world.api("Service");
    services.patch_status(name, &PatchParams::default(), &status).await.expect("write the Service's status");
}

async fn expose(world: &World, name: &str, expose: Value) {
    world.apply("AtSign", name, json!({"spec": {"expose": expose}})).await;
}

async fn service(world: &World, name: &str) -> Value {
    world.get("Service", name).await.expect("the Service")
}

async fn address(world: &World, name: &str) -> Value {
    world.get("AtSign", name).await.expect("the AtSign")["status"]["address"].clone()
}

/// Waits until the Service's certificate serves exactly those of `names` that are marked.
async fn until_certified(world: &World, name: &str, names: &[(&str, bool)]) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let secret = world.get("Secret", &format!("{name}-tls")).await.expect("the Secret");
        let encoded = secret["data"]["tls.crt"].as_str().expect("a certificate").to_owned();
        let secret = json!({"data": {"tls.crt": encoded}});
        let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(secret).expect("a Secret");
        let pem = String::from_utf8(secret.data.expect("data")["tls.crt"].0.clone()).expect("PEM");
        let now = jiff::Timestamp::now();
        let serves = |host: &str| leaf::serves(&pem, Some(host), now).is_ok();
        if names.iter().all(|(host, wanted)| serves(host) == *wanted) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the certificate of {name} is not for {names:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_node_port_is_told_with_the_name_that_was_chosen_and_external_dns_makes_its_record() {
    let world = World::new().await;
    let operator = world.operator().await;
    expose(&world, "alice", json!({"type": "NodePort", "hostname": "alice.example.com"})).await;
    let alice = world.until("alice", "True", "ServerReady").await;
    let service = service(&world, "alice").await;
    let port = &service["spec"]["ports"][0];
    assert_eq!((&port["port"], &service["spec"]["type"]), (&json!(6464), &json!("NodePort")));
    let address = format!("alice.example.com:{}", port["nodePort"]);
    assert_eq!(alice.status.expect("a status").address, Some(address));
    let annotations = &service["metadata"]["annotations"];
    assert_eq!(annotations["external-dns.alpha.kubernetes.io/hostname"], "alice.example.com");
    until_certified(&world, "alice", &[("alice.example.com", true)]).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_load_balancer_is_waited_for_and_then_published_by_the_address_that_it_got() {
    let world = World::new().await;
    let operator = world.operator().await;
    let ttl = json!({"external-dns.alpha.kubernetes.io/ttl": "60"});
    expose(&world, "alice", json!({"type": "LoadBalancer", "port": 443, "annotations": ttl})).await;
    let alice = world.until("alice", "False", "LoadBalancerPending").await;
    let status = alice.status.expect("a status");
    assert_eq!(status.address, None);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("Ready");
    assert!(ready.message.contains("kubectl describe service -n"), "{}", ready.message);
    assert_eq!(service(&world, "alice").await["spec"]["ports"][0]["port"], 443);
    assert_eq!(
        service(&world, "alice").await["metadata"]["annotations"]["external-dns.alpha.kubernetes.io/ttl"],
        "60"
    );

    cloud_gives(&world, "alice", json!([{"ip": "192.0.2.7"}])).await;
    world.until("alice", "True", "ServerReady").await;
    assert_eq!(address(&world, "alice").await, "192.0.2.7:443");
    until_certified(&world, "alice", &[("192.0.2.7", true), ("alice", true)]).await;

    // A second address that comes before it moves nobody.
    cloud_gives(&world, "alice", json!([{"ip": "192.0.2.3"}, {"ip": "192.0.2.7"}])).await;
    world.until_at_rest().await;
    assert_eq!(address(&world, "alice").await, "192.0.2.7:443");
    cloud_gives(&world, "alice", json!([{"hostname": "lb.cloud.example"}])).await;
    until_certified(&world, "alice", &[("lb.cloud.example", true), ("192.0.2.7", false)]).await;
    assert_eq!(address(&world, "alice").await, "lb.cloud.example:443");
    operator.stop().await;
}

#[tokio::test]
async fn the_way_in_changes_in_place_and_the_old_address_stays_until_the_new_one_answers() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    world.until("alice", "True", "ServerReady").await;
    let inside = address(&world, "alice").await;
    let first = service(&world, "alice").await;

    expose(&world, "alice", json!({"type": "NodePort", "hostname": "one.example.com", "port": 30_064})).await;
    world.until("alice", "True", "ServerReady").await;
    assert_eq!(address(&world, "alice").await, "one.example.com:30064");

    expose(&world, "alice", json!({"type": "LoadBalancer", "hostname": "two.example.com"})).await;
    world.until("alice", "False", "LoadBalancerPending").await;
    assert_eq!(address(&world, "alice").await, "one.example.com:30064", "the directory goes on giving it");
    until_certified(&world, "alice", &[("one.example.com", true), ("two.example.com", true)]).await;
    cloud_gives(&world, "alice", json!([{"ip": "192.0.2.7"}])).await;
    world.until("alice", "True", "ServerReady").await;
    assert_eq!(address(&world, "alice").await, "two.example.com");
    until_certified(&world, "alice", &[("one.example.com", false), ("two.example.com", true)]).await;

    // Another name and another annotation: the same load balancer.
    let annotations = json!({"cloud.example/idle-timeout": "3600"});
    expose(
        &world,
        "alice",
        json!({"type": "LoadBalancer", "hostname": "three.example.com", "annotations": annotations}),
    )
    .await;
    world.until("alice", "True", "ServerReady").await;
    assert_eq!(address(&world, "alice").await, "three.example.com");
    assert_eq!(
        service(&world, "alice").await["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "192.0.2.7", "ipMode": "VIP"}])
    );

    expose(&world, "alice", json!({"type": "ClusterIP"})).await;
    world.until("alice", "True", "ServerReady").await;
    assert_eq!(address(&world, "alice").await, inside);
    until_certified(&world, "alice", &[("three.example.com", false), ("alice", true)]).await;
    let last = service(&world, "alice").await;
    for field in ["uid", "labels"] {
        assert_eq!(last["metadata"][field], first["metadata"][field], "{field}");
    }
    for field in ["clusterIP", "type", "ports", "externalTrafficPolicy", "selector"] {
        assert_eq!(last["spec"][field], first["spec"][field], "{field}");
    }
    assert_eq!(last["status"], first["status"]);
    let annotations = last["metadata"]["annotations"].as_object().expect("annotations");
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["atsign.dev/applied"]);
    operator.stop().await;
}
