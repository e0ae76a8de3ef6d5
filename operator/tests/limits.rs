//! What a tier limits: how it reaches the server, what is said of it, and how a claim grows.

mod cluster;

use std::time::Duration;

use cluster::faults::Faults;
use cluster::{Operator, Pods, World};
use serde_json::{Value, json};

/// A world with two tiers, and one AtSign of the larger.
struct Story {
    world: World,
    node: Pods,
    operator: Operator,
}

impl Story {
    async fn begin() -> Self {
        let world = World::new().await;
        let node = world.node();
        for (name, limits) in [
            (
                "large",
                json!({"connections": 200, "keys": 1000, "valueBytes": 65536, "storageBytes": 400_000_000, "notificationsPerDay": 80}),
            ),
            ("small", json!({"keys": 10, "storageBytes": 1_000_000})),
        ] {
            let tier = format!("{name}-{}", world.namespace);
            world.apply("AtSignTier", &tier, json!({"spec": {"limits": limits}})).await;
        }
        let operator = world.operator_as(Faults::default(), &[]).await;
        let story = Self { world, node, operator };
        story.choose("large").await;
        story.world.until("alice", "True", "ServerReady").await;
        story
            .until("alice is said to use something", |status| status["limits"]["keys"]["used"].is_number())
            .await;
        story
    }

    async fn choose(&self, tier: &str) {
        let tier = format!("{tier}-{}", self.world.namespace);
        self.world.apply("AtSign", "alice", json!({"spec": {"tier": tier}})).await;
    }

    async fn get(&self, kind: &str, name: &str) -> Value {
        self.world.get(kind, name).await.unwrap_or_default()
    }

    async fn limits(&self) -> Value {
        let map = self.get("ConfigMap", "alice-config").await;
        serde_json::from_str(map["data"]["limits.json"].as_str().unwrap_or("null")).expect("JSON")
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
        loop {
            let status = self.get("AtSign", "alice").await["status"].clone();
            if wanted(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "not {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_condition(&self, type_: &str, reason: &str) -> Value {
        let status = self
            .until(&format!("{type_}/{reason}"), |status| condition(status, type_)["reason"] == reason)
            .await;
        condition(&status, type_).clone()
    }
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    let conditions = status["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|found| found["type"] == type_)).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn limits_reach_the_server_by_its_config_map_alone() {
    let story = Story::begin().await;
    assert_eq!(
        story.limits().await,
        json!({"connections": 200, "keys": 1000, "valueBytes": 65536, "storageBytes": 400_000_000, "notificationsPerDay": 80})
    );
    let pod = story.node.pod("alice").await.expect("a pod").metadata.uid;
    let template = story.get("Deployment", "alice").await["spec"]["template"].clone();
    story.choose("small").await;
    story
        .until("of the small tier", |status| {
            status["tier"].as_str().is_some_and(|tier| tier.starts_with("small"))
        })
        .await;
    assert_eq!(story.limits().await, json!({"keys": 10, "storageBytes": 1_000_000}));
    assert_eq!(story.get("Deployment", "alice").await["spec"]["template"], template);
    assert_eq!(story.node.pod("alice").await.expect("a pod").metadata.uid, pod);

    // A tier that changes is a change for everyone who has it.
    let tier = format!("small-{}", story.world.namespace);
    story.world.apply("AtSignTier", &tier, json!({"spec": {"limits": {"keys": 20}}})).await;
    story.until("20 keys", |status| status["limits"]["keys"]["limit"] == 20).await;
    assert_eq!(story.limits().await, json!({"keys": 20}));
    story.operator.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_the_tier_is_told_by_how_much_until_it_fits() {
    let story = Story::begin().await;
    let says = |keys, store_bytes| {
        story.node.server("alice", |server| {
            server.says(|usage| (usage.keys, usage.store_bytes, usage.sent_today) = (keys, store_bytes, 7));
        });
    };
    says(13, 1_500_000);
    story.choose("small").await;
    let over = story.until_condition("QuotaExceeded", "TierDoesNotFit").await;
    let message = over["message"].as_str().unwrap_or_default();
    assert!(message.contains("delete 3 keys (it has 13 and the limit is 10)"), "{message}");
    assert!(message.contains("500000 bytes (it has 1500000 and the limit is 1000000)"), "{message}");
    let status = story.get("AtSign", "alice").await["status"].clone();
    assert_eq!(condition(&status, "Ready")["status"], "True", "it goes on: {status:#}");
    assert_eq!(status["limits"], json!({"keys": {"used": 13, "limit": 10}}));
    assert_eq!(status["storage"]["limit"], "1000000");
    assert_eq!(status["storage"]["used"], "1500000");

    says(10, 500_000);
    let full = story.until_condition("QuotaExceeded", "LimitReached").await;
    assert!(full["message"].as_str().unwrap_or_default().contains("limits.keys"), "{full}");
    story.choose("large").await;
    let status = story.until("it fits", |status| condition(status, "QuotaExceeded").is_null()).await;
    assert_eq!(
        status["limits"]["notificationsToday"],
        json!({"used": 10, "limit": 80}),
        "rounded to an eighth"
    );
    story.operator.stop().await;
}

#[tokio::test]
async fn a_claim_grows_where_its_class_allows_and_is_told_of_where_not() {
    let world = World::new().await;
    let class = format!("elastic-{}", world.namespace);
    world
        .apply(
            "StorageClass",
            &class,
            json!({"provisioner": "example.com/played", "allowVolumeExpansion": true}),
        )
        .await;
    let operator = world.operator().await;
    let sized = |class: Option<&str>, size: &str| {
        json!({"spec": {"storage": match class {
            Some(class) => json!({"size": size, "storageClassName": class}),
            None => json!({"size": size}),
        }}})
    };
    let story = Story { node: world.node(), operator, world };
    for (name, class) in [("alice", Some(class.as_str())), ("rigid", None)] {
        story.world.apply("AtSign", name, sized(class, "1Gi")).await;
        story.world.until(name, "True", "ServerReady").await;
        story.world.until_bound(name).await;
    }
    story.world.apply("AtSign", "rigid", sized(None, "2Gi")).await;
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let rigid = story.get("AtSign", "rigid").await;
        let differs = condition(&rigid["status"], "StorageSizeDiffers").clone();
        if differs["reason"] == "ClassDoesNotExpand" {
            let message = differs["message"].as_str().unwrap_or_default();
            assert!(message.contains("has 1Gi and cannot grow to 2Gi"), "{message}");
            assert_eq!(condition(&rigid["status"], "Ready")["status"], "True", "it goes on with what it has");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rigid:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        story.get("PersistentVolumeClaim", "rigid").await["spec"]["resources"]["requests"]["storage"],
        "1Gi"
    );

    let expands =
        |expands: bool| json!({"provisioner": "example.com/played", "allowVolumeExpansion": expands});
    story.world.apply("StorageClass", &class, expands(false)).await;
    story.world.apply("AtSign", "alice", sized(Some(&class), "2Gi")).await;
    story.until_condition("StorageSizeDiffers", "ClassDoesNotExpand").await;
    story.world.apply("StorageClass", &class, expands(true)).await;
    story.until_condition("StorageSizeDiffers", "Resizing").await;
    let claims = story.world.api("PersistentVolumeClaim");
    let asked = claims.get("alice").await.expect("the claim");
    assert_eq!(asked.data["spec"]["resources"]["requests"]["storage"], "2Gi");
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).expect("a time").to_string();
    for (status, reason) in [
        (
            json!({"conditions": [{"type": "FileSystemResizePending", "status": "True", "lastTransitionTime": now}]}),
            Some("FileSystemResizePending"),
        ),
        (json!({"conditions": [], "capacity": {"storage": "2Gi"}}), None),
    ] {
        let patch = kube::api::Patch::Merge(json!({"status": status}));
        claims.patch_status("alice", &kube::api::PatchParams::default(), &patch).await.expect("patch");
        let wanted = reason.map_or(Value::Null, Value::from);
        story
            .until(&format!("{reason:?}"), |status| {
                condition(status, "StorageSizeDiffers")["reason"] == wanted
            })
            .await;
    }
    story.operator.stop().await;
}
