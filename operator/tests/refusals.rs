//! What a person gets who asks for what cannot be: a reason for programs, and a message that says what to do.

mod cluster;

use cluster::World;
use serde_json::{Value, json};

/// The tiers of the table below.
async fn sell(world: &World) {
    for (name, spec) in [
        ("small", json!({"memory": {"default": "6Mi", "cap": "8Mi"}})),
        ("others", json!({"namespaceSelector": {"matchLabels": {"plan": "pro"}}})),
        ("roomy", json!({"limits": {"storageBytes": 450_000_000}})),
        ("saved", json!({"backup": {"schedule": "0 3 * * *"}})),
    ] {
        world.apply("AtSignTier", &format!("{name}-{}", world.namespace), json!({"spec": spec})).await;
    }
}

/// Objects that were there before, and are not what is expected of them.
async fn stand_in_the_way(world: &World) {
    world.apply("Secret", "short", json!({"stringData": {"cram": "abc"}})).await;
    world.apply("Secret", "no-certificate", json!({"stringData": {"tls.crt": "hello"}})).await;
    world.apply("Service", "taken", json!({"spec": {"ports": [{"port": 80}]}})).await;
    world
        .apply(
            "PersistentVolumeClaim",
            "kept",
            json!({"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}}),
        )
        .await;

    let of_bob = json!({"metadata": {"annotations": {"atsign.dev/at-sign": "@bob"}}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    world.apply("PersistentVolumeClaim", "of-bob", of_bob).await;
}

#[tokio::test]
async fn each_refusal_has_a_reason_and_says_what_to_do() {
    let world = World::new().await;
    let tier = |name: &str| format!("{name}-{}", world.namespace);
    sell(&world).await;
    stand_in_the_way(&world).await;

    let cramped = json!({"tier": tier("roomy"), "storage": {"size": "900M"}});
    let routed = json!({"type": "TLSRoute", "hostname": "a.example.com", "gatewayRef": {"name": "g"}});
    let table: Vec<(&str, Value, &str, &str)> = vec![
        ("absent", json!({"tier": "nothing"}), "TierNotFound", "kubectl get atsigntiers"),
        ("forbidden", json!({"tier": tier("others")}), "TierNotAllowed", "namespaceSelector"),
        ("large", json!({"tier": tier("small"), "memory": {"default": "12Mi"}}), "OutsideTier", "6Mi to 8Mi"),
        ("huge", json!({"memory": {"cap": "25Mi"}}), "OutsideTier", "the built-in tier"),
        ("cramped", cramped, "OutsideTier", "limits.storageBytes 450000000 needs a claim of 1000000000"),
        ("saved", json!({"tier": tier("saved")}), "NotYetSupported", "spec.backup of AtSignTier"),
        (
            "backup",
            json!({"backup": {"schedule": "0 3 * * *", "to": {"claim": "c"}}}),
            "NotYetSupported",
            "spec.backup",
        ),
        ("restored", json!({"restoreFrom": {"claim": "c"}}), "NotYetSupported", "spec.restoreFrom"),
        (
            "other-image",
            json!({"image": "example.com/x"}),
            "ImageNotAllowed",
            "the built-in tier allows no other",
        ),
        (
            "tiers-image",
            json!({"image": "example.com/x", "tier": tier("small")}),
            "ImageNotAllowed",
            "choose a tier with allowCustomImage",
        ),
        ("routed", json!({"expose": routed}), "GatewayApiOff", "gatewayApi.enabled=true"),
        ("issued", json!({"tls": {"issuerRef": {"name": "x"}}}), "CertManagerOff", "certManager.enabled"),
        ("claimless", json!({"storage": {"existingClaim": "none"}}), "ClaimNotFound", "create it"),
        (
            "thief",
            json!({"storage": {"existingClaim": "of-bob"}}),
            "ClaimOfAnother",
            "of-bob keeps the data of @bob",
        ),
        (
            "classless",
            json!({"storage": {"storageClassName": "none"}}),
            "StorageClassNotFound",
            "kubectl get storageclass",
        ),
        (
            "secretless",
            json!({"activation": {"secretName": "none"}}),
            "ActivationSecretNotFound",
            "kubectl create secret generic none",
        ),
        (
            "shortened",
            json!({"activation": {"secretName": "short"}}),
            "ActivationSecretInvalid",
            "128 hexadecimal",
        ),
        (
            "uncertified",
            json!({"tls": {"secretName": "none"}}),
            "CertificateNotFound",
            "kubectl create secret tls none",
        ),
        (
            "certified-badly",
            json!({"tls": {"secretName": "no-certificate"}}),
            "CertificateInvalid",
            "not a PEM certificate",
        ),
        ("taken", json!({}), "NameTaken", "Service taken exists already"),
        ("kept", json!({}), "NameTaken", "PersistentVolumeClaim kept exists already"),
    ];
    for (name, spec, ..) in &table {
        world.apply("AtSign", name, json!({"spec": spec})).await;
    }
    let operator = world.operator().await;
    for (name, _, reason, says) in &table {
        let at_sign = world.until(name, "False", reason).await;
        let conditions = at_sign.status.expect("a status").conditions;
        let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled").expect("Stalled");
        assert_eq!(stalled.status, "True", "{name}");
        assert!(stalled.message.contains(says), "{name}: {:?} does not say {says:?}", stalled.message);
        assert_eq!(world.get("Deployment", name).await, None, "{name}");
        let events = world.api("Event").list(&kube::api::ListParams::default()).await.expect("Events");
        assert!(
            events.iter().any(|event| {
                event.data["reason"] == *reason
                    && event.data["regarding"]["name"] == *name
                    && event.data["type"] == "Warning"
            }),
            "no Event says {reason} of {name}"
        );
    }
    operator.stop().await;
}

#[tokio::test]
async fn what_was_refused_is_served_once_its_cause_is_gone() {
    let world = World::new().await;
    let late = format!("late-{}", world.namespace);
    let operator = world.operator().await;
    let spec = json!({"tier": late, "storage": {"storageClassName": late}});
    world.apply("AtSign", "alice", json!({"spec": spec})).await;
    world.until("alice", "False", "TierNotFound").await;
    world.apply("AtSignTier", &late, json!({"spec": {}})).await;
    world.until("alice", "False", "StorageClassNotFound").await;
    world.apply("StorageClass", &late, json!({"provisioner": "example.com/played"})).await;
    world.until("alice", "True", "ServerReady").await;
    operator.stop().await;
}
