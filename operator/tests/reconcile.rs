//! What an operator makes of AtSigns, against a real API server.

mod cluster;

use std::time::Duration;

use cluster::faults::Faults;
use cluster::{PATIENCE, World};
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
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
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
async fn nothing_is_made_before_every_watched_namespace_is_known() {
    let (world, other) = (World::new().await, World::new().await);
    other.apply("AtSign", "first", json!({"spec": {"atSign": "@Dora"}})).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.apply("AtSign", "second", json!({"spec": {"atSign": "@dora"}})).await;
    let late = format!("/apis/atsign.dev/v1/namespaces/{}/atsigns", other.namespace);
    let operator =
        world.operator_as(Faults::late(late), &["--watch-namespace", other.namespace.as_str()]).await;
    world.until("second", "False", "AtSignTaken").await;
    let made = operator.faults.log();
    assert!(!made.iter().any(|write| write.contains("deployments/second")), "{made:#?}");

    other.delete("AtSign", "first").await;
    world.until("second", "True", "ServerReady").await;
    operator.stop().await;
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
    // The volume's name comes into the claim by another controller, at its own pace.
    world.until_bound("alice").await;
    world.until_at_rest().await;
    let before = without_events(world.snapshot().await);
    let cram = world.get("Secret", "alice-activation").await.expect("the Secret")["data"]["cram"].clone();

    world.apply("Service", "alice", json!({"spec": {"selector": {"app.kubernetes.io/name": "evil"}}})).await;
    world.apply("ConfigMap", "alice-config", json!({"data": {"peer-ca.crt": "none"}})).await;
    world.apply("Deployment", "alice", json!({"spec": {"replicas": 3}})).await;
    world.delete("NetworkPolicy", "alice").await;
    world.delete("Secret", "alice-tls").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = without_events(world.snapshot().await);
        if now == before {
            break;
        }
        let differing: Vec<_> = now.iter().filter(|object| !before.contains(object)).collect();
        assert!(tokio::time::Instant::now() < deadline, "of {} objects: {differing:#?}", before.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let kept = world.get("Secret", "alice-activation").await.expect("the Secret")["data"]["cram"].clone();
    assert_eq!(kept, cram);
    operator.stop().await;
}

#[tokio::test]
async fn retained_data_is_found_again_by_an_atsign_of_the_same_name() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    world.until("alice", "True", "ServerReady").await;
    world.until_bound("alice").await;
    world.until_at_rest().await;
    let volume = world.volumes().await[0]["metadata"]["uid"].clone();
    world.delete("AtSign", "alice").await;
    world.until_gone("Deployment", "alice").await;
    assert_eq!(world.volumes().await[0]["spec"]["persistentVolumeReclaimPolicy"], "Retain");

    world.apply("AtSign", "alice", json!({"spec": {}})).await;
    world.until("alice", "True", "ServerReady").await;
    assert_eq!(world.volumes().await.len(), 1);
    assert_eq!(world.volumes().await[0]["metadata"]["uid"], volume);

    world.delete("AtSign", "alice").await;
    world.until_gone("Deployment", "alice").await;
    world.apply("AtSign", "alice", json!({"spec": {"atSign": "@mallory"}})).await;
    world.until("alice", "False", "ClaimOfAnother").await;
    operator.stop().await;
}

#[tokio::test]
async fn the_deletion_policy_can_change_both_ways() {
    let world = World::new().await;
    let operator = world.operator().await;
    let finalizer =
        async || world.get("AtSign", "alice").await.expect("alice")["metadata"]["finalizers"].clone();
    world.apply("AtSign", "alice", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    world.until("alice", "True", "ServerReady").await;
    world.until_bound("alice").await;
    world.until_at_rest().await;
    assert_eq!(finalizer().await, json!(["atsign.dev/storage"]));
    assert_eq!(world.volumes().await[0]["spec"]["persistentVolumeReclaimPolicy"], "Delete");

    world.apply("AtSign", "alice", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    world.until("alice", "True", "ServerReady").await;
    world.until_at_rest().await;
    assert_eq!(finalizer().await, Value::Null);
    assert_eq!(world.volumes().await[0]["spec"]["persistentVolumeReclaimPolicy"], "Retain");

    world.apply("AtSign", "alice", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    world.until("alice", "True", "ServerReady").await;
    world.delete("AtSign", "alice").await;
    world.until_gone("AtSign", "alice").await;
    world.until_gone("PersistentVolumeClaim", "alice").await;
    world.until_at_rest().await;
    assert_eq!(world.volumes().await, Vec::<Value>::new());
    operator.stop().await;
}

#[tokio::test]
async fn a_tiers_export_gives_each_atsign_its_own_directory_and_nothing_else() {
    let world = World::new().await;
    let tier = format!("nfs-{}", world.namespace);
    let nfs = json!({"server": "nfs.example.com", "path": "/export"});
    world.apply("AtSignTier", &tier, json!({"spec": {"storage": {"size": "2Gi", "nfs": nfs}}})).await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {"tier": tier}})).await;
    let alice = world.until("alice", "True", "ServerReady").await;
    world.until_bound("alice").await;
    let uid = alice.metadata.uid.expect("a UID");
    let own = world.volumes().await.into_iter().find(|volume| volume["spec"]["claimRef"]["name"] == "alice");
    let own = own.expect("the volume")["spec"].clone();
    assert_eq!(own["nfs"]["path"], format!("/export/{}-alice-{uid}", world.namespace));
    assert_eq!(own["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(own["capacity"]["storage"], "2Gi");
    let claim = world.get("PersistentVolumeClaim", "alice").await.expect("the claim");
    assert_eq!(own["claimRef"]["uid"], claim["metadata"]["uid"]);
    operator.stop().await;
}

#[tokio::test]
async fn a_tier_that_changes_restarts_nothing_until_a_restart_is_asked_for() {
    let world = World::new().await;
    let tier = format!("pro-{}", world.namespace);
    world.apply("AtSignTier", &tier, json!({"spec": {"memory": {"default": "8Mi", "cap": "16Mi"}}})).await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {"tier": tier}})).await;
    world.until("alice", "True", "ServerReady").await;
    let template =
        async || world.get("Deployment", "alice").await.expect("alice")["spec"]["template"].clone();
    let before = template().await;
    let limit = |template: &Value| template["spec"]["containers"][0]["resources"]["limits"]["memory"].clone();
    assert_eq!(limit(&before), "8Mi");

    let pod = pod_settings();
    world
        .apply(
            "AtSignTier",
            &tier,
            json!({"spec": {"memory": {"default": "12Mi", "cap": "16Mi"}, "pod": pod}}),
        )
        .await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let alice = world.get("AtSign", "alice").await.expect("alice");
        let conditions = alice["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|condition| condition["type"] == "PodSettingsPending") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{alice:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(template().await, before);

    let restart = json!({"metadata": {"annotations": {"atsign.dev/restart": "now"}}, "spec": {"tier": tier}});
    world.apply("AtSign", "alice", restart).await;
    while template().await == before {
        assert!(tokio::time::Instant::now() < deadline, "the restart is made");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let made = template().await;
    for (name, wanted) in pod.as_object().expect("settings") {
        match name.as_str() {
            // Beside ours.
            "labels" => assert_eq!(made["metadata"]["labels"]["cost-centre"], wanted["cost-centre"]),
            "annotations" => assert_eq!(made["metadata"]["annotations"]["note"], wanted["note"]),
            name => assert_eq!(made["spec"][name], *wanted, "{name}"),
        }
    }
    assert_eq!(limit(&template().await), "12Mi");
    operator.stop().await;
}

#[tokio::test]
async fn suspend_stops_the_server_and_paused_stops_the_operator() {
    let world = World::new().await;
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {"suspend": true}})).await;
    world.until("alice", "False", "Suspended").await;
    assert_eq!(world.get("Deployment", "alice").await.expect("alice")["spec"]["replicas"], 0);

    let paused =
        json!({"metadata": {"annotations": {"atsign.dev/paused": "true"}}, "spec": {"suspend": false}});
    world.apply("AtSign", "alice", paused).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.get("Deployment", "alice").await.expect("alice")["spec"]["replicas"], 0);

    world.apply("AtSign", "alice", json!({"spec": {"suspend": false}})).await;
    world.until("alice", "True", "ServerReady").await;
    operator.stop().await;
}

#[tokio::test]
async fn pods_are_admitted_where_pod_security_is_restricted() {
    let world = World::new().await;
    let tier = format!("nfs-{}", world.namespace);
    let nfs = json!({"server": "nfs.example.com", "path": "/export"});
    world.apply("AtSignTier", &tier, json!({"spec": {"storage": {"nfs": nfs}}})).await;
    // Nobody plays the kubelet here, so that the Job is seen.
    world.stop_playing();
    let operator = world.operator().await;
    world.apply("AtSign", "alice", json!({"spec": {"tier": tier}})).await;
    world.until("alice", "False", "WaitingForPod").await;
    let server = world.get("Deployment", "alice").await.expect("the Deployment");
    let jobs = world.jobs().await;
    assert_eq!(jobs.len(), 1);
    for template in [&server["spec"]["template"], &jobs[0]["spec"]["template"]] {
        let mut pod = template.clone();
        pod["metadata"]["name"] = json!("admitted");
        world.apply("Pod", "admitted", pod).await;
        world.delete("Pod", "admitted").await;
    }
    let evil = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert!(world.try_apply("Pod", "evil", evil).await.is_err(), "what is not restricted is refused here");
    operator.stop().await;
}

#[tokio::test]
async fn a_claim_that_is_there_is_used_as_it_is_and_stays_when_its_atsign_goes() {
    let world = World::new().await;
    let operator = world.operator().await;
    let spec = json!({"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "3Gi"}}});
    world.apply("PersistentVolumeClaim", "brought", json!({"spec": spec})).await;
    world.until_bound("brought").await;
    let spec = json!({"storage": {"existingClaim": "brought"}, "deletionPolicy": "Delete"});
    world.apply("AtSign", "alice", json!({"spec": spec})).await;
    world.until("alice", "True", "ServerReady").await;
    let deployment = world.get("Deployment", "alice").await.expect("alice");
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().expect("volumes");
    assert!(volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == "brought"));
    assert_eq!(world.get("PersistentVolumeClaim", "alice").await, None, "no other one is made");
    world.delete("AtSign", "alice").await;
    world.until_gone("AtSign", "alice").await;
    let brought = world.get("PersistentVolumeClaim", "brought").await.expect("it stays");
    assert_eq!(brought["metadata"]["deletionTimestamp"], Value::Null);
    assert_eq!(brought["spec"]["resources"]["requests"]["storage"], "3Gi");
    operator.stop().await;
}

/// Every setting of pods that a tier has.
fn pod_settings() -> Value {
    json!({
        "runtimeClassName": "crun",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "atsigns", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        "priorityClassName": "paid",
        "imagePullSecrets": [{"name": "registry"}],
        "labels": {"cost-centre": "42"},
        "annotations": {"note": "hello"},
    })
}

fn without_events(snapshot: Vec<(String, Value)>) -> Vec<(String, Value)> {
    snapshot.into_iter().filter(|(name, _)| !name.starts_with("Event ")).collect()
}
