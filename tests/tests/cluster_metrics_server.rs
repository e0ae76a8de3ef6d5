//! A server of another image, as metrics-server measures it on a real node: it is asked nothing, and has room all the same.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::memory::{Hasty, Limit, MI};
use atsign_tests::cluster::{Namespace, Tiers, eventually, kubectl, operator_ca};
use serde_json::Value;

/// metrics-server looks every ten seconds, the node measures about as often, and the operator asks by itself.
const MEASURED: Duration = Duration::from_mins(2);

/// What metrics-server says that the one container of a pod uses, bytes.
fn measured(namespace: &Namespace, pod: &str) -> Result<u64> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/{pod}", namespace.name);
    let metrics: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path])?)?;
    let usage = metrics["containers"][0]["usage"]["memory"].as_str().context("no container is measured")?;
    let kibibytes = usage.strip_suffix("Ki").with_context(|| format!("it is in Ki: {usage}"))?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}

/// Has the server use so many mebibytes beside what it needs to run.
fn uses(client: &mut Client, mebibytes: u64) -> Result<()> {
    let answer = client.request(&format!("use {mebibytes}"))?;
    ensure!(answer == "data:ok\n@", "{answer}");
    Ok(())
}

#[test]
fn another_images_server_grows_by_what_metrics_server_measures_and_shrinks_again() -> Result<()> {
    let _tiers = Tiers(&["bring-your-own"]);
    let _hasty = Hasty::operator(&[])?;
    let namespace = Namespace::new("memory-other")?;
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: atsign.dev/v1, kind: AtSignTier, metadata: {name: bring-your-own}, spec: {
             allowCustomImage: true, memory: {default: 24Mi, cap: 96Mi}}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: other}, spec: {
             tier: bring-your-own, image: 'docker.io/library/other-server:dev'}}]}",
    )?;
    namespace.wait_for("other", "Ready", "True")?;
    let pod = namespace.pod("other")?;
    let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
    let limit = Limit::of(&pod)?;
    assert_eq!(limit.bytes()?, 24 * MI);
    let at_rest = eventually("it is measured", MEASURED, || measured(&namespace, name))?;
    ensure!(at_rest < 12 * MI, "it uses {at_rest} to run");
    eventually("the status tells what it uses", MEASURED, || {
        let memory = namespace.get("atsign", "other")?["status"]["memory"].clone();
        ensure!(memory["used"].is_string(), "{memory}");
        Ok(())
    })?;

    let mut client = Client::connect(&namespace.host("other"), 6464, &operator_ca()?)?;
    uses(&mut client, 18)?;
    let grown = eventually("the cgroup's limit is higher", MEASURED, || {
        let limit = limit.bytes()?;
        ensure!(limit > 24 * MI, "it is {limit}, measured {}", measured(&namespace, name)?);
        Ok(limit)
    })?;
    // The node is first, the status tells of it afterwards.
    let reason = eventually("the status tells why", MEASURED, || {
        let memory = namespace.get("atsign", "other")?["status"]["memory"].clone();
        let reason = memory["lastResizeReason"].as_str().unwrap_or_default();
        ensure!(reason.starts_with("from 24Mi to ") && reason.contains("the server needs"), "{memory}");
        Ok(reason.to_owned())
    })?;
    // More than it had at first.
    uses(&mut client, 26)?;
    println!("{at_rest} bytes at rest, limit {grown} for 18Mi more: {reason}");

    uses(&mut client, 0)?;
    limit.until(24 * MI, 2 * MEASURED, &namespace)?;
    uses(&mut client, 1)?;
    let after = namespace.pod("other")?;
    assert_eq!(after["metadata"]["uid"], pod["metadata"]["uid"], "no other pod");
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0, "no other process");
    Ok(())
}
