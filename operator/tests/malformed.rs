//! An object that is not as its schema says. In a file of its own, for it changes the schema under everybody.

mod cluster;

use std::time::Duration;

use cluster::World;
use serde_json::{Value, json};

#[tokio::test]
async fn a_malformed_atsign_stops_nobody_else() {
    let world = World::new().await;
    // As an older or a broken schema would have let it in.
    let crd = ["get", "crd", "atsigns.atsign.dev", "-o", "json"];
    let original = cluster::server().kubectl_ok(&crd, "").expect("the CRD");
    let mut loose: Value = serde_json::from_str(&original).expect("JSON");
    loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    loose["spec"]["versions"][0].as_object_mut().expect("a version").remove("selectableFields");
    let namespace = world.namespace.clone();
    cluster::server().kubectl_ok(&["replace", "-f", "-"], &loose.to_string()).expect("loosen the CRD");
    let bad = json!({"apiVersion": "atsign.dev/v1", "kind": "AtSign", "metadata": {"name": "bad", "namespace": namespace},
        "spec": {"suspend": "perhaps"}});
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while cluster::server().kubectl_ok(&["apply", "--validate=false", "-f", "-"], &bad.to_string()).is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the loose schema is taken up");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    world.until("alice", "True", "ServerReady").await;
    operator.stop().await;
    world.delete("AtSign", "bad").await;
    let mut strict: Value = serde_json::from_str(&original).expect("JSON");
    strict["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    cluster::server().kubectl_ok(&["replace", "-f", "-"], &strict.to_string()).expect("restore the CRD");
}
