//! cert-manager itself, with an authority of its own: it signs what a server presents, renews it under the clients, and
//! says why it does not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::certificates::Loyal;
use atsign_tests::cluster::{
    Namespace, condition_of, directory_host, eventually, kubectl, kubectl_with, operator_ca,
};
use serde_json::{Value, json};

/// Where cert-manager looks for the Secrets of a `ClusterIssuer`.
const CERT_MANAGER: &str = "cert-manager";

/// Has cert-manager make an authority that signs itself, in a Secret `authority` of this namespace; its certificate, PEM.
fn authority(namespace: &Namespace) -> Result<String> {
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: self}, spec: {selfSigned: {}}},
           {apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: authority}, spec: {
             isCA: true, commonName: an authority of the test, secretName: authority, issuerRef: {name: self},
             privateKey: {algorithm: ECDSA, size: 256}}}]}",
    )?;
    eventually("the authority is made", Duration::from_mins(1), || namespace.secret("authority", "tls.crt"))
}

/// Waits until the reason why an AtSign is not ready is `CertificatePending`, in words that contain all of these.
fn until_told(namespace: &Namespace, name: &str, words: &[&str]) -> Result<()> {
    eventually(&format!("{name} says {words:?}"), Duration::from_mins(2), || {
        let at_sign = namespace.get("atsign", name)?;
        let ready = condition_of(&at_sign, "Ready").context("a condition")?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(
            ready["reason"] == "CertificatePending" && words.iter().all(|word| message.contains(word)),
            "{ready}"
        );
        Ok(())
    })
}

/// What `cmctl renew` does.
fn renew(namespace: &Namespace, certificate: &str) -> Result<()> {
    let issuing = json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered"});
    let patch = json!([{"op": "add", "path": "/status/conditions/-", "value": issuing}]).to_string();
    let how = ["--subresource=status", "--type=json", "-p", patch.as_str()];
    namespace.kubectl(&[&["patch", "certificate", certificate], how.as_slice()].concat()).map(drop)
}

#[test]
fn an_issuer_signs_what_the_server_presents_and_renews_it_under_its_clients() -> Result<()> {
    let namespace = Namespace::new("cert-issued")?;
    let ca = authority(&namespace)?;
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: ca}, spec: {ca: {secretName: authority}}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: notary}, spec: {tls: {issuerRef: {name: ca}}}}]}",
    )?;
    let notary = namespace.wait_for("notary", "Ready", "True")?;
    let host = namespace.host("notary");
    assert_eq!(notary["status"]["address"], host);
    let mut directory = Client::connect(&directory_host(), 64, &operator_ca()?)?;
    assert_eq!(directory.request("notary")?, format!("{host}:6464\r\n@"));

    // Who trusts the issuer's authority logs in; the operator's has signed nothing here.
    let mut loyal = Loyal::to(&namespace, "notary", &ca)?;
    loyal.until_presented("notary-issued")?;
    ensure!(Client::connect(&host, 6464, &operator_ca()?).is_err(), "the operator's authority signed");

    let (first, pod) = (loyal.presented()?, namespace.pod("notary")?);
    renew(&namespace, "notary-issued")?;
    eventually("cert-manager has it signed again", Duration::from_mins(1), || {
        let certificate = namespace.get("certificate", "notary-issued")?;
        ensure!(certificate["status"]["revision"] == 2, "{}", certificate["status"]);
        loyal.ask()
    })?;
    loyal.until_presented("notary-issued")?;
    ensure!(loyal.presented()? != first, "a renewed certificate has a number of its own");

    let after = namespace.pod("notary")?;
    assert_eq!(after["metadata"]["uid"], pod["metadata"]["uid"], "no other pod");
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0, "no other process");
    let secret = namespace.get("secret", "notary-issued")?;
    assert_eq!(secret["metadata"]["ownerReferences"][0]["name"], "notary", "its key goes with the AtSign");
    Ok(())
}

/// A `ClusterIssuer` that is removed when the test ends: no namespace takes it along.
struct Late;

impl Late {
    fn create() -> Result<Self> {
        kubectl_with(
            &["apply", "-f", "-"],
            "{apiVersion: cert-manager.io/v1, kind: ClusterIssuer, metadata: {name: late}, spec: {ca: {secretName: authority}}}",
        )?;
        Ok(Self)
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "clusterissuer", "late", "--ignore-not-found"]);
    }
}

#[test]
fn an_issuer_that_is_missing_or_not_ready_is_named_until_it_signs() -> Result<()> {
    let namespace = Namespace::new("cert-late")?;
    let keeper = Namespace::new(CERT_MANAGER)?;
    namespace.apply(
        "{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: patient}, spec: {
           expose: {hostname: patient.example.com}, tls: {issuerRef: {name: late, kind: ClusterIssuer}}}}",
    )?;
    let issuer = "clusterissuer.cert-manager.io/late";
    until_told(&namespace, "patient", &[issuer, "not found", "kubectl describe"])?;
    let pods = namespace.list("pods", "app.kubernetes.io/instance=patient")?;
    ensure!(pods.is_empty(), "a server without a certificate cannot start, and {} try", pods.len());

    // There, but without the key that it is to sign with.
    let _late = Late::create()?;
    until_told(&namespace, "patient", &[issuer, "does not have a Ready status condition"])?;

    // Nobody touches the AtSign, nor its Certificate.
    let ca = authority(&keeper)?;
    let patient = namespace.wait_for("patient", "Ready", "True")?;
    assert_eq!(patient["status"]["address"], "patient.example.com");
    let service: Value = namespace.get("service", "patient")?;
    let address = service["spec"]["clusterIP"].as_str().context("the Service's address")?;
    let mut client = Client::connect_to(&format!("{address}:6464"), "patient.example.com", &ca)?;
    client.cram("@patient", &namespace.secret("patient-activation", "cram")?)
}
