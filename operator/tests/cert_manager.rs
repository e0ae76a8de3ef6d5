//! Certificates of somebody else's authority, against a real API server; the test is cert-manager and writes the Secret.
//! The real one is in the suite `cert-manager`.

mod cluster;

use atsign_operator::authority::Authority;
use cluster::World;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// cert-manager's kinds, as far as an operator sees of them.
async fn install_cert_manager(world: &World) {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}});
    // The operator looks for Certificates, so the other is there before.
    for kind in ["CertificateRequest", "Certificate"] {
        let singular = kind.to_lowercase();
        let plural = format!("{singular}s");
        let names =
            json!({"plural": plural, "kind": kind, "singular": singular, "listKind": format!("{kind}List")});
        let spec =
            json!({"group": "cert-manager.io", "scope": "Namespaced", "names": names, "versions": [version]});
        world
            .apply("CustomResourceDefinition", &format!("{plural}.cert-manager.io"), json!({"spec": spec}))
            .await;
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
        while world.api(kind).list(&kube::api::ListParams::default()).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "{plural} are not served");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

/// What cert-manager does once its issuer signed.
async fn cert_manager_signs(world: &World, name: &str) {
    let certificate = world.get("Certificate", name).await.expect("the Certificate");
    let names: Vec<String> = serde_json::from_value(certificate["spec"]["dnsNames"].clone()).expect("names");
    let now = jiff::Timestamp::now();
    let leaf =
        Authority::generate(now).and_then(|authority| authority.issue(&names, now)).expect("a certificate");
    let data = json!({"tls.crt": leaf.certificate, "tls.key": leaf.key});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
        "type": "kubernetes.io/tls"});
    let params = PatchParams::apply("cert-manager").force();
    world.api("Secret").patch(name, &params, &Patch::Apply(secret)).await.expect("write the Secret");
    says(world, "Certificate", name, "True", "Certificate is up to date and has not expired").await;
}

/// What cert-manager writes into an object of its own.
async fn says(world: &World, kind: &str, name: &str, ready: &str, message: &str) {
    let condition = json!({"type": "Ready", "status": ready, "reason": "Said", "message": message});
    let status = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    world.api(kind).patch_status(name, &PatchParams::default(), &status).await.expect("write the status");
}

/// Waits until alice's conditions contain a text.
async fn until_told(world: &World, text: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let alice = world.get("AtSign", "alice").await.expect("alice");
        if alice["status"]["conditions"].to_string().contains(text) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text:?} is not in {alice:#}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn issued(hostname: &str) -> Value {
    json!({"spec": {"expose": {"hostname": hostname},
        "tls": {"issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"}}}})
}

#[tokio::test]
async fn an_issuer_signs_before_the_server_starts_and_again_when_the_name_changes() {
    let world = World::new().await;
    let operator = world.operator_as(cluster::faults::Faults::default(), &["--cert-manager"]).await;
    world.apply("AtSign", "alice", issued("alice.example.com")).await;
    world.until("alice", "False", "CertManagerMissing").await;
    operator.stop().await;

    install_cert_manager(&world).await;
    let operator = world.operator_as(cluster::faults::Faults::default(), &["--cert-manager"]).await;
    let alice = world.until("alice", "False", "CertificatePending").await.status.expect("a status");
    assert!(alice.conditions.iter().any(|said| said.type_ == "Reconciling" && said.status == "True"));
    let spec = world.get("Certificate", "alice-issued").await.expect("the Certificate")["spec"].clone();
    assert_eq!(
        spec["dnsNames"],
        json!(["alice.example.com"]),
        "no name that a public authority does not sign"
    );
    assert_eq!(
        spec["issuerRef"],
        json!({"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"})
    );
    assert_eq!(world.get("Deployment", "alice").await, None, "a pod could not start without its certificate");

    // What cert-manager says of it is what a person is told; of the issuer it speaks in its request, which nobody watches.
    world.apply("CertificateRequest", "alice-issued-1", json!({"spec": {}})).await;
    says(&world, "CertificateRequest", "alice-issued-1", "False", "Referenced ClusterIssuer not found").await;
    says(&world, "Certificate", "alice-issued", "False", "The Secret does not exist").await;
    until_told(
        &world,
        "signed by clusterissuer.cert-manager.io/letsencrypt: Referenced ClusterIssuer not found",
    )
    .await;
    cert_manager_signs(&world, "alice-issued").await;
    world.until("alice", "True", "ServerReady").await;
    let pod = world.get("Deployment", "alice").await.expect("the Deployment")["spec"]["template"].to_string();
    assert!(pod.contains("alice-issued") && !pod.contains("alice-tls"), "{pod}");
    world.until_at_rest().await;
    let secret = world.get("Secret", "alice-issued").await.expect("the Secret");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], "alice", "its key goes with the AtSign");
    let quiet = operator.faults.writes();
    let mut body = issued("alice.example.com");
    body["metadata"]["annotations"]["test/look"] = json!("again");
    world.apply("AtSign", "alice", body).await;
    world.until_at_rest().await;
    assert_eq!(operator.faults.writes(), quiet, "{:?}", operator.faults.log());

    // Another name is asked for beside the one that is published, and then alone.
    world.apply("AtSign", "alice", issued("alice.example.org")).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let spec = world.get("Certificate", "alice-issued").await.expect("the Certificate")["spec"].clone();
        if spec["dnsNames"] == json!(["alice.example.org"]) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{spec:#}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // Back to the operator's own authority: neither the Certificate nor its key stays.
    world.apply("AtSign", "alice", json!({"spec": {"expose": {"hostname": "alice.example.org"}}})).await;
    world.until_gone("Certificate", "alice-issued").await;
    world.until_gone("Secret", "alice-issued").await;
    world.until("alice", "True", "ServerReady").await;
    operator.stop().await;
}
