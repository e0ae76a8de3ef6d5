//! What an operator makes of AtSigns, against a real API server.

mod cluster;

use std::time::Duration;

use cluster::World;
use serde_json::{Value, json};

fn names(snapshot: &[(String, Value)]) -> Vec<&str> {
    snapshot.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("Event ")).collect()
}

#[tokio::test]
async fn an_atsign_becomes_exactly_these_objects() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    let alice = world.until("alice", "True", "ServerReady").await;
    let status = alice.status.expect("a status");
    assert_eq!(status.at_sign.as_deref(), Some("@alice"));
    assert_eq!(status.address, Some(format!("alice.{}.svc.cluster.local", world.namespace)));
    assert_eq!(
        names(&world.snapshot().await),
        [
            "AtSign alice",
            "ConfigMap alice-config",
            "ConfigMap atsign-ca",
            "Deployment alice",
            "NetworkPolicy alice",
            "PersistentVolumeClaim alice",
            "Secret alice-activation",
            "Secret alice-admin",
            "Secret alice-tls",
            "Secret atsign-ca",
            "Secret atsign-directory-tls",
            "Service alice",
            "PersistentVolume",
        ]
    );
    let claim = world.get("PersistentVolumeClaim", "alice").await.expect("the claim");
    assert_eq!(claim["metadata"]["ownerReferences"], Value::Null, "the claim outlives its AtSign");
    assert_eq!(world.volumes().await[0]["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    operator.stop().await;
}

#[tokio::test]
async fn an_unchanged_atsign_is_reconciled_without_a_write() {
    let world = World::new().await;
    let first = world.operator().await;
    for name in ["alice", "bob"] {
        world.apply("AtSign", name, json!({"spec": {}})).await;
    }
    world.apply("AtSign", "stalled", json!({"spec": {"tier": "no-such-tier"}})).await;
    for name in ["alice", "bob"] {
        world.until(name, "True", "ServerReady").await;
    }
    world.until("stalled", "False", "TierNotFound").await;
    // What the events of its own writes wake is at rest.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (versions, writes) = (world.versions().await, first.faults.writes());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(first.faults.writes(), writes, "{:#?}", first.faults.log());
    first.stop().await;

    // A new one reconciles all of them, and knows nothing of what the first did.
    let second = world.operator().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !second.metrics.text().lines().any(|line| {
        line.strip_prefix("atsign_operator_reconcile_total ")
            .is_some_and(|count| count.parse::<u64>().unwrap_or(0) >= 3)
    }) {
        assert!(tokio::time::Instant::now() < deadline, "three reconciles");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(second.faults.log(), Vec::<String>::new());
    assert_eq!(world.versions().await, versions);
    second.stop().await;
}

#[tokio::test]
async fn of_two_that_claim_an_atsign_the_older_keeps_it() {
    let world = World::new().await;
    world.apply("AtSign", "first", json!({"spec": {"atSign": "@Carol"}})).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.apply("AtSign", "second", json!({"spec": {"atSign": "@c.arol"}})).await;
    let operator = world.operator().await;
    world.until("first", "True", "ServerReady").await;
    let second = world.until("second", "False", "AtSignTaken").await;
    let message = second
        .status
        .expect("a status")
        .conditions
        .into_iter()
        .find(|c| c.type_ == "Stalled")
        .expect("Stalled");
    assert!(message.message.contains(&format!("{}/first", world.namespace)), "{}", message.message);
    for kind in ["Deployment", "Service", "PersistentVolumeClaim"] {
        assert_eq!(world.get(kind, "second").await, None, "{kind}");
    }
    world.delete("AtSign", "first").await;
    world.until("second", "True", "ServerReady").await;
    operator.stop().await;
}

#[tokio::test]
async fn what_a_person_changes_or_deletes_is_put_back() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    world.until("alice", "True", "ServerReady").await;
    let before = world.snapshot().await;
    let cram = world.get("Secret", "alice-activation").await.expect("the Secret")["data"]["cram"].clone();

    world.apply("Service", "alice", json!({"spec": {"selector": {"app.kubernetes.io/name": "evil"}}})).await;
    world.apply("ConfigMap", "alice-config", json!({"data": {"peer-ca.crt": "none"}})).await;
    world.apply("Deployment", "alice", json!({"spec": {"replicas": 3}})).await;
    world.delete("NetworkPolicy", "alice").await;
    world.delete("Secret", "alice-tls").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while without_events(world.snapshot().await) != without_events(before.clone()) {
        assert!(tokio::time::Instant::now() < deadline, "{:#?}", world.snapshot().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let kept = world.get("Secret", "alice-activation").await.expect("the Secret")["data"]["cram"].clone();
    assert_eq!(kept, cram);
    operator.stop().await;
}

fn without_events(snapshot: Vec<(String, Value)>) -> Vec<(String, Value)> {
    snapshot.into_iter().filter(|(name, _)| !name.starts_with("Event ")).collect()
}
