//! The proof at the end of `cargo xtask up`: @alice is resolved, reached over TLS, written to and read from.

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::{OPERATOR_NAMESPACE, directory_host, kubectl, operator_ca};
use serde_json::Value;

/// Runs inside the cluster's network, with `KUBECONFIG` set, and prints a line for each thing that it saw.
///
/// @alice is left as she was found, not activated: the CRAM secret still waits for its owner's SDK. If she has been
/// activated meanwhile, nobody but her owner can log in, and the proof ends at what strangers may see.
pub(crate) fn prove(namespace: &str, name: &str) -> Result<()> {
    let object = get(namespace, "atsign", name)?;
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let at_sign = text("/status/atSign").with_context(|| format!("AtSign {name} has no status.atSign"))?;
    let ca = operator_ca()?;

    let service = cluster_ip(OPERATOR_NAMESPACE, "atsign-directory")?;
    let mut directory = Client::connect_to(&format!("{service}:64"), &directory_host(), &ca)?;
    let answer = directory.request(at_sign.trim_start_matches('@'))?;
    let address = answer.trim_end_matches('@').trim_end();
    println!("  directory   {at_sign} is at {address}");
    let (host, port) =
        address.rsplit_once(':').with_context(|| format!("the directory answered {answer:?}"))?;

    let socket = format!("{}:{port}", cluster_ip(namespace, name)?);
    let mut owner = Client::connect_to(&socket, host, &ca)?;
    println!("  TLS         the server at {socket} shows a certificate for {host}");
    if object.pointer("/status/activated") == Some(&Value::Bool(true)) {
        println!("  activated   {at_sign} belongs to somebody: only the owner's keys log in from now on");
        return Ok(());
    }
    owner.cram(&at_sign, &cram_secret(namespace, &object, name)?)?;
    println!("  from, cram  logged in as {at_sign}");

    let key = format!("proof.up{at_sign}");
    for command in [format!("update:{key} it works"), format!("llookup:{key}"), format!("delete:{key}")] {
        let answer = owner.request(&command)?;
        ensure!(answer.starts_with("data:"), "{command} answered {answer:?}");
        println!("  {command:<28} {}", answer.lines().next().unwrap_or_default());
    }
    Ok(())
}

fn get(namespace: &str, kind: &str, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl(&["-n", namespace, "get", kind, name, "-o", "json"])?)?)
}

fn cluster_ip(namespace: &str, service: &str) -> Result<String> {
    let service = get(namespace, "service", service)?;
    Ok(service
        .pointer("/spec/clusterIP")
        .and_then(Value::as_str)
        .context("the Service has no address")?
        .to_owned())
}

fn cram_secret(namespace: &str, object: &Value, name: &str) -> Result<String> {
    use base64::Engine as _;
    let generated = format!("{name}-activation");
    let secret = object.pointer("/spec/activation/secretName").and_then(Value::as_str).unwrap_or(&generated);
    let secret = get(namespace, "secret", secret)?;
    let encoded =
        secret.pointer("/data/cram").and_then(Value::as_str).context("the Secret has no key cram")?;
    Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded)?)?)
}
