//! A full node whose server is to move: the node is real, and so is the scheduler. Beside it stands a node that the KWOK
//! controller plays, which is as good as any for where a pod is placed.

use std::time::Duration;

use anyhow::{Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::memory::{Filler, Hasty, Limit, MI, NODE};
use atsign_tests::cluster::{Namespace, Tiers, eventually, kubectl, kubectl_with};
use serde_json::{Value, json};

/// What a server of 6Mi has no room for, and one of 8Mi has.
const LARGE: usize = 900_000;
/// How long a node that is full, then a pod that none takes, is waited for.
const SOON: [&str; 2] = ["--memory-deferred-after=3", "--memory-unschedulable-after=5"];

/// A node that the KWOK controller plays. Gone, with all that runs on it, when this is dropped.
struct Elsewhere;

impl Elsewhere {
    /// With so much memory for pods.
    fn with(memory: &str) -> Result<Self> {
        let room = json!({"cpu": "4", "memory": memory, "pods": "110"});
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": "elsewhere",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": "elsewhere", "kubernetes.io/os": "linux"},
            },
            "status": {"allocatable": room, "capacity": room},
        });
        kubectl_with(&["create", "-f", "-"], &node.to_string())?;
        let node = Self;
        eventually("the node is there to be used", Duration::from_mins(1), || {
            let node: Value = serde_json::from_str(&kubectl(&["get", "node", "elsewhere", "-o", "json"])?)?;
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|found| found["type"] == "Ready" && found["status"] == "True");
            ensure!(ready && node["spec"]["taints"].is_null(), "{node}");
            Ok(())
        })?;
        Ok(node)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = kubectl(&["cordon", "elsewhere"]);
        let on_it = "--field-selector=spec.nodeName=elsewhere";
        let _ = kubectl(&["delete", "pods", "-A", on_it, "--force", "--grace-period=0", "--timeout=60s"]);
        let _ = kubectl(&["delete", "node", "elsewhere", "--ignore-not-found", "--timeout=60s"]);
    }
}

/// A server in a tier that lets it move.
fn mover(name: &str) -> Result<(Namespace, Client)> {
    let namespace = Namespace::new(&format!("memory-{name}"))?;
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: List, items: [
           {{apiVersion: atsign.dev/v1, kind: AtSignTier, metadata: {{name: {name}}}, spec: {{memory: {{whenNodeFull: Move}}}}}},
           {{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: {name}}}, spec: {{tier: {name}}}}}]}}"
    ))?;
    namespace.wait_for(name, "Ready", "True")?;
    let mut owner = namespace.log_in(name)?;
    let stored = owner.request(&format!("update:small.demo@{name} of old"))?;
    ensure!(stored.starts_with("data:"), "{stored}");
    Ok((namespace, owner))
}

/// Has the server need 8Mi, for a while.
fn need_more(owner: &mut Client, name: &str) -> Result<()> {
    let answer = owner.request(&format!("update:large.demo@{name} {}", "v".repeat(LARGE)))?;
    ensure!(answer.starts_with("error:AT0005-"), "there was room: {answer}");
    Ok(())
}

/// Waits until the status says what became of the move.
fn until_told(namespace: &Namespace, name: &str, sentence: &str) -> Result<Value> {
    eventually("the status tells what became of the move", Duration::from_mins(2), || {
        let memory = namespace.get("atsign", name)?["status"]["memory"].clone();
        ensure!(memory["lastResizeReason"] == sentence, "{memory}");
        Ok(memory)
    })
}

fn events(namespace: &Namespace, reason: &str) -> Result<String> {
    let path = format!("jsonpath={{.items[?(@.reason==\"{reason}\")].message}}");
    namespace.kubectl(&["get", "events", "-o", &path])
}

#[test]
fn a_server_whose_node_is_full_is_placed_on_another_by_the_scheduler() -> Result<()> {
    let _tiers = Tiers(&["mover"]);
    let _hasty = Hasty::operator(&SOON)?;
    let (namespace, mut owner) = mover("mover")?;
    let before = namespace.pod("mover")?;
    ensure!(before["spec"]["nodeName"] == NODE, "it runs on {}", before["spec"]["nodeName"]);
    let _filler = Filler::of_the_node()?;
    let _elsewhere = Elsewhere::with("1Gi")?;
    need_more(&mut owner, "mover")?;
    let memory = until_told(&namespace, "mover", "from 6Mi to 8Mi: it was moved to where there is room")?;
    assert_eq!(memory["placement"], "OnPod");
    let after = namespace.pod("mover")?;
    assert_eq!(after["spec"]["nodeName"], "elsewhere");
    assert_eq!(after["spec"]["containers"][0]["resources"]["requests"]["memory"], "8Mi");
    let told = events(&namespace, "MemoryMoving")?;
    ensure!(told.contains("replaced by one with 8Mi"), "the Events are: {told}");
    Ok(())
}

#[test]
fn a_server_that_no_node_has_room_for_comes_back_with_what_it_had() -> Result<()> {
    let _tiers = Tiers(&["returner"]);
    let _hasty = Hasty::operator(&SOON)?;
    let (namespace, mut owner) = mover("returner")?;
    let before = namespace.pod("returner")?;
    let _filler = Filler::of_the_node()?;
    // Less than it had: the way back leads to where it was.
    let _elsewhere = Elsewhere::with("4Mi")?;
    need_more(&mut owner, "returner")?;
    until_told(&namespace, "returner", "moved and returned to 6Mi: no node has room for 8Mi")?;
    let after = namespace.pod("returner")?;
    assert_eq!(after["spec"]["nodeName"], NODE);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"], "it was replaced once");
    let limit = eventually("it runs", Duration::from_mins(1), || Limit::of(&namespace.pod("returner")?))?;
    assert_eq!(limit.bytes()?, 6 * MI);
    let told = events(&namespace, "MemoryMoveFailed")?;
    ensure!(told.contains("no node has room for 8Mi"), "the Events are: {told}");
    namespace.wait_for("returner", "Ready", "True")?;
    let mut owner = namespace.log_in("returner")?;
    let answer = owner.request("llookup:small.demo@returner")?;
    ensure!(answer == "data:of old\n@returner@", "{answer}");
    Ok(())
}
