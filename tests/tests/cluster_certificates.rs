//! Certificates on a real cluster, whoever signs them: a new one is presented without a restart and under the clients who
//! are there, and one that they would refuse is not presented at all.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::certificates::{Authority, Loyal, Pair};
use atsign_tests::cluster::{
    Namespace, OPERATOR_NAMESPACE, condition_of, directory_host, eventually, kubectl, operator_ca,
};
use serde_json::{Value, json};

/// When certificates end that have not ended.
const LATER: i32 = 2060;

/// Waits until an AtSign is not ready for this reason, in words that contain `says`.
fn until_refused(namespace: &Namespace, name: &str, reason: &str, says: &str) -> Result<()> {
    eventually(&format!("{name} is not ready: {reason}, {says}"), Duration::from_mins(2), || {
        let at_sign = namespace.get("atsign", name)?;
        let ready = condition_of(&at_sign, "Ready").context("a condition")?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(
            ready["status"] == "False" && ready["reason"] == reason && message.contains(says),
            "it is {ready}"
        );
        Ok(())
    })
}

/// What must be the same from before a change until after it: the pod, and its process.
fn process(namespace: &Namespace, name: &str) -> Result<(Value, Value)> {
    let pod = namespace.pod(name)?;
    Ok((pod["metadata"]["uid"].clone(), pod["status"]["containerStatuses"][0]["restartCount"].clone()))
}

#[test]
fn a_certificate_of_ones_own_is_waited_for_and_replaced_under_its_clients() -> Result<()> {
    let namespace = Namespace::new("cert-own")?;
    namespace.apply(
        "{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: owner}, spec: {tls: {secretName: own}}}",
    )?;
    until_refused(&namespace, "owner", "CertificateNotFound", "kubectl create secret tls own")?;

    let authority = Authority::new("an authority that only the owner knows")?;
    let ca = authority.certificate();
    authority.sign(&namespace.host("owner"), LATER)?.keep(&namespace, "own")?;
    namespace.wait_for("owner", "Ready", "True")?;
    let mut loyal = Loyal::to(&namespace, "owner", &ca)?;
    loyal.until_presented("own")?;

    let before = process(&namespace, "owner")?;
    for _ in 0..2 {
        authority.sign(&namespace.host("owner"), LATER)?.keep(&namespace, "own")?;
        loyal.until_presented("own")?;
    }
    assert_eq!(process(&namespace, "owner")?, before);
    namespace.wait_for("owner", "Ready", "True")?;
    Ok(())
}

#[test]
fn a_certificate_that_clients_would_refuse_is_refused_and_the_one_before_stays() -> Result<()> {
    let namespace = Namespace::new("cert-refused")?;
    let host = namespace.host("careless");
    let authority = Authority::new("another authority that only the owner knows")?;
    let ca = authority.certificate();
    let good = authority.sign(&host, LATER)?;
    good.keep(&namespace, "own")?;
    namespace.apply(
        "{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: careless}, spec: {tls: {secretName: own}}}",
    )?;
    namespace.wait_for("careless", "Ready", "True")?;
    let mut loyal = Loyal::to(&namespace, "careless", &ca)?;
    let (presented, before) = (loyal.presented()?, process(&namespace, "careless")?);

    let with = |pair: Pair, key: String| Pair { key, ..pair };
    let other = authority.sign(&host, LATER)?;
    let bad = [
        (
            with(authority.sign(&host, LATER)?, "not a key".to_owned()),
            "tls.key is not a private key",
            "cannot read /atsign/certs/tls.key",
        ),
        (
            with(authority.sign(&host, LATER)?, other.key),
            "tls.key is the key of another certificate",
            "certificate and key cannot be used",
        ),
        (authority.sign(&host, 2020)?, "it ends at 2020-12-31", "the new certificate has ended"),
        (
            authority.sign("elsewhere.example.com", LATER)?,
            &format!("it does not name {host}"),
            &format!("the new certificate does not name {host}"),
        ),
    ];
    for (pair, operator_says, server_says) in bad {
        pair.keep(&namespace, "own")?;
        until_refused(&namespace, "careless", "CertificateInvalid", operator_says)?;
        // Once the server tells of it, the kubelet has brought it.
        eventually(&format!("the server says {server_says:?}"), Duration::from_mins(2), || {
            loyal.ask()?;
            ensure!(loyal.presented()? == presented, "it is presented");
            let log = namespace.kubectl(&["logs", "deployment/careless"])?;
            ensure!(log.contains(server_says), "its log is {log}");
            Ok(())
        })?;
        ensure!(loyal.presented()? == presented, "it is presented");
    }
    let mut directory = Client::connect(&directory_host(), 64, &operator_ca()?)?;
    assert_eq!(directory.request("careless")?, format!("{host}:6464\r\n@"), "who looks for it finds it");

    authority.sign(&host, LATER)?.keep(&namespace, "own")?;
    loyal.until_presented("own")?;
    namespace.wait_for("careless", "Ready", "True")?;
    assert_eq!(process(&namespace, "careless")?, before);
    Ok(())
}

/// Lets the operator have a successor of its authority that was published long ago, and hear of it.
fn succeed(successor: &Authority) -> Result<()> {
    let next = json!({"stringData": {"next.crt": successor.certificate(), "next.key": successor.key}});
    let operator = |args: &[&str]| kubectl(&[&["-n", OPERATOR_NAMESPACE], args].concat());
    operator(&["patch", "secret", "atsign-ca", "--type=merge", "-p", &next.to_string()])?;
    operator(&["rollout", "restart", "deployment/atsign-operator"])?;
    operator(&["rollout", "status", "deployment/atsign-operator", "--timeout=120s"])?;
    Ok(())
}

#[test]
fn the_operators_authority_has_a_successor_and_servers_of_both_trust_each_other() -> Result<()> {
    let namespace = Namespace::new("cert-successor")?;
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: elder}, spec: {}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: younger}, spec: {}}]}",
    )?;
    for name in ["elder", "younger"] {
        namespace.wait_for(name, "Ready", "True")?;
    }
    let old = operator_ca()?;
    let mut loyal = Loyal::to(&namespace, "younger", &old)?;
    let before = process(&namespace, "younger")?;

    // A certificate that is lost is made again, by the same authority.
    let first = loyal.presented()?;
    namespace.kubectl(&["delete", "secret", "younger-tls"])?;
    eventually("there is another", Duration::from_mins(1), || namespace.secret("younger-tls", "tls.crt"))?;
    loyal.until_presented("younger-tls")?;
    ensure!(loyal.presented()? != first, "it is another");

    let successor = Authority::new("the operator's next authority")?;
    succeed(&successor)?;
    eventually("both are published", Duration::from_mins(1), || {
        let published = operator_ca()?;
        let mut trusted = old.split_inclusive("-----END CERTIFICATE-----\n");
        ensure!(published.starts_with(&successor.certificate()), "the successor signs: {published}");
        ensure!(trusted.all(|one| published.contains(one)), "and is not trusted alone: {published}");
        ensure!(namespace.secret("younger-tls", "ca.crt")? == published, "the server's own Secret is older");
        loyal.ask()
    })?;
    // What the old one signed serves on. The new one signs what is made from now on.
    namespace.kubectl(&["delete", "secret", "younger-tls"])?;
    let both = operator_ca()?;
    loyal.now_trusts(&both);
    eventually("there is another", Duration::from_mins(1), || namespace.secret("younger-tls", "tls.crt"))?;
    loyal.until_presented("younger-tls")?;
    Client::connect(&namespace.host("younger"), 6464, &successor.certificate())
        .context("the successor signed")?;
    Client::connect(&namespace.host("elder"), 6464, &old).context("the old one's certificates are kept")?;
    assert_eq!(process(&namespace, "younger")?, before);

    let mut younger = namespace.log_in("younger")?;
    let shared = younger.request("update:@elder:note@younger of age")?;
    ensure!(shared.starts_with("data:"), "{shared}");
    let mut elder = namespace.log_in("elder")?;
    eventually("the elder's server trusts the younger's, and is trusted", Duration::from_mins(1), || {
        let answer = elder.request("lookup:note@younger")?;
        ensure!(answer == "data:of age\n@elder@", "{answer}");
        Ok(())
    })
}
