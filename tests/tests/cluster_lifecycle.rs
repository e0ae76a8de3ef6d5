//! The life of one atSign on a real cluster: made, used, killed, deleted, made again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::{Namespace, directory_host, eventually, kubectl, operator_ca};
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);

/// The node's process that serves this pod.
fn server_process(pod: &Value) -> Result<i32> {
    let uid = pod["metadata"]["uid"].as_str().context("the pod has no uid")?;
    let mark = format!("ATSIGN_HOLDER_ID={uid}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let is_server =
            std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|c| c.starts_with("atsign-second"));
        if is_server && environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes()) {
            return Ok(pid);
        }
    }
    bail!("no process of pod {uid}")
}

fn kill(pid: i32) -> Result<()> {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;
    ensure!(status.success(), "kill -9 {pid}");
    Ok(())
}

#[test]
fn the_example_becomes_a_running_atsign_that_the_directory_knows() -> Result<()> {
    let namespace = Namespace::new("life-example")?;
    namespace.apply_file("examples/alice.yaml")?;
    let alice = namespace.wait_for("alice", "Ready", "True")?;

    let host = "alice.life-example.svc.cluster.local";
    assert_eq!(alice["status"]["address"], host);
    assert_eq!(alice["status"]["tier"], "built-in");
    assert_eq!(alice["status"]["observedGeneration"], alice["metadata"]["generation"]);

    let mut directory = Client::connect(&directory_host(), 64, &operator_ca()?)?;
    assert_eq!(directory.request("alice")?, format!("{host}:6464\r\n@"));

    let mut owner = namespace.log_in("alice")?;
    assert!(owner.request("update:public:greeting@alice hello")?.starts_with("data:"));
    assert_eq!(owner.request("llookup:public:greeting@alice")?, "data:hello\n@alice@");
    let mut stranger = Client::connect(host, 6464, &operator_ca()?)?;
    assert_eq!(stranger.request("lookup:greeting@alice")?, "data:hello\n@");

    let table = namespace.kubectl(&["get", "ats"])?;
    let heading = table.lines().next().unwrap_or_default();
    for column in ["ATSIGN", "TIER", "MEMORY", "USED", "READY", "REASON", "ADDRESS", "AGE"] {
        assert!(heading.contains(column), "kubectl get ats shows no {column}: {heading}");
    }
    Ok(())
}

#[test]
fn the_pod_runs_restricted_and_within_six_mebibytes() -> Result<()> {
    let namespace = Namespace::new("life-small")?;
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: small}, spec: {}}")?;
    namespace.wait_for("small", "Ready", "True")?;
    let mut owner = namespace.log_in("small")?;
    for n in 0..200 {
        owner.request(&format!("update:key{n}.demo@small {}", "v".repeat(200)))?;
    }
    let pod = namespace.pod("small")?;
    let pid = server_process(&pod)?;

    // cgroup v1 and v2 name the limit differently; both say it in bytes.
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let limit = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| {
            [
                PathBuf::from(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
                PathBuf::from(format!("/sys/fs/cgroup{path}/memory.max")),
            ]
        })
        .find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok())
        .context("the container's memory limit")?;
    assert_eq!(limit, 6 << 20);

    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("Uid:").contains("65532") && !line("Uid:").contains("\t0\t"), "{}", line("Uid:"));
    assert_eq!(line("CapEff:"), "CapEff:\t0000000000000000");
    assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
    assert_eq!(line("Seccomp:"), "Seccomp:\t2");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    Ok(())
}

#[test]
fn a_deleted_pod_comes_back_with_its_data() -> Result<()> {
    let namespace = Namespace::new("life-pod")?;
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: phoenix}, spec: {}}")?;
    namespace.wait_for("phoenix", "Ready", "True")?;
    namespace.log_in("phoenix")?.request("update:ashes.demo@phoenix still warm")?;

    let before = namespace.pod("phoenix")?;
    namespace.kubectl(&["delete", "pod", before["metadata"]["name"].as_str().unwrap_or_default()])?;

    let value = eventually("the data is back", 2 * MINUTE, || {
        namespace.log_in("phoenix")?.request("llookup:ashes.demo@phoenix")
    })?;
    assert_eq!(value, "data:still warm\n@phoenix@");
    assert_ne!(namespace.pod("phoenix")?["metadata"]["uid"], before["metadata"]["uid"]);
    Ok(())
}

#[test]
fn fifty_times_kill_9_under_updates_loses_no_acknowledged_update() -> Result<()> {
    const KILLS: usize = 50;
    let namespace = Namespace::new("life-kill")?;
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: nine}, spec: {}}")?;
    namespace.wait_for("nine", "Ready", "True")?;

    // The writer notes what was acknowledged, and what was sent without an answer: that may or may not be there.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, name) = (Arc::clone(&stop), namespace.name.clone());
        std::thread::spawn(move || -> Result<(BTreeMap<u32, u64>, u64)> {
            let namespace = std::mem::ManuallyDrop::new(Namespace { name });
            let (mut acknowledged, mut number) = (BTreeMap::new(), 0u64);
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut client) = namespace.log_in("nine") else {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                };
                loop {
                    number += 1;
                    let slot = u32::try_from(number % 97)?;
                    match client.request(&format!("update:slot{slot}.demo@nine {number}")) {
                        Ok(answer) if answer.starts_with("data:") => {
                            acknowledged.insert(slot, number);
                        }
                        _ => break,
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            Ok((acknowledged, number))
        })
    };
    for round in 0..KILLS {
        eventually("the server runs again", MINUTE, || {
            let pid = server_process(&namespace.pod("nine")?)?;
            // Only a server that serves is worth killing: this is what readiness says, seen by its client.
            namespace.log_in("nine")?.request("noop:0")?;
            std::thread::sleep(Duration::from_millis(20 + 37 * (round as u64 % 13)));
            kill(pid)
        })
        .with_context(|| format!("kill {round}"))?;
    }
    stop.store(true, Ordering::Relaxed);
    let (acknowledged, sent) = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    ensure!(
        acknowledged.len() > 50,
        "only {} keys were acknowledged: the writer hardly ran",
        acknowledged.len()
    );

    let mut owner = eventually("the server runs again", MINUTE, || namespace.log_in("nine"))?;
    for (slot, number) in &acknowledged {
        let answer = owner.request(&format!("llookup:slot{slot}.demo@nine"))?;
        let stored: u64 = answer
            .strip_prefix("data:")
            .and_then(|rest| rest.lines().next())
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("slot {slot}: acknowledged {number}, found {answer:?}"))?;
        assert!(stored >= *number && stored <= sent, "slot {slot}: acknowledged {number}, found {stored}");
    }
    println!("{KILLS} kills, {sent} updates sent, {} keys checked, none lost", acknowledged.len());
    let pod = namespace.pod("nine")?;
    assert!(
        pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0) >= 40,
        "{}",
        pod["status"]
    );
    Ok(())
}

#[test]
fn retain_keeps_the_data_for_the_next_atsign_of_that_name() -> Result<()> {
    let namespace = Namespace::new("life-retain")?;
    let manifest =
        "{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: keeper}, spec: {deletionPolicy: Retain}}";
    namespace.apply(manifest)?;
    namespace.wait_for("keeper", "Ready", "True")?;
    namespace.log_in("keeper")?.request("update:treasure.demo@keeper gold")?;
    let volume = namespace.get("pvc", "keeper")?["spec"]["volumeName"].clone();

    namespace.kubectl(&["delete", "atsign", "keeper"])?;
    eventually("the pod is gone", MINUTE, || {
        let pods = namespace.list("pods", "app.kubernetes.io/instance=keeper")?;
        ensure!(pods.is_empty(), "{} pods are left", pods.len());
        Ok(())
    })?;
    assert_eq!(
        namespace.get("pvc", "keeper")?["spec"]["volumeName"],
        volume,
        "the claim outlives the AtSign"
    );

    namespace.apply(manifest)?;
    namespace.wait_for("keeper", "Ready", "True")?;
    let value = eventually("the data is back", MINUTE, || {
        namespace.log_in("keeper")?.request("llookup:treasure.demo@keeper")
    })?;
    assert_eq!(value, "data:gold\n@keeper@");
    Ok(())
}

#[test]
fn delete_leaves_nothing_behind_not_even_on_nfs() -> Result<()> {
    let export = PathBuf::from(std::env::var("ATSIGN_STATE")?).join("nfs/export");
    let of_us = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains("life-delete");
    let directories = || -> Result<usize> { Ok(std::fs::read_dir(&export)?.flatten().filter(of_us).count()) };

    let namespace = Namespace::new("life-delete")?;
    namespace.apply(
        "{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: leaver}, spec: {deletionPolicy: Delete}}",
    )?;
    namespace.wait_for("leaver", "Ready", "True")?;
    namespace.log_in("leaver")?.request("update:secret.demo@leaver burn after reading")?;
    assert_eq!(directories()?, 1, "the claim has its directory on the NFS server");
    let volume =
        namespace.get("pvc", "leaver")?["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();

    namespace.kubectl(&["delete", "atsign", "leaver", "--timeout=120s"])?;
    eventually("nothing is left", 2 * MINUTE, || {
        let left = namespace.kubectl(&["get", "all,pvc,secret,networkpolicy", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "left: {left}");
        let volumes = kubectl(&["get", "pv", "-o", "name"])?;
        ensure!(!volumes.contains(&volume), "the volume {volume} is left");
        ensure!(directories()? == 0, "the directory on the NFS server is left");
        Ok(())
    })
}

#[test]
fn an_unchanged_atsign_causes_no_write_even_when_the_operator_restarts() -> Result<()> {
    let namespace = Namespace::new("life-quiet")?;
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: quiet}, spec: {}}")?;
    namespace.wait_for("quiet", "Ready", "True")?;
    let versions = || -> Result<BTreeMap<String, String>> {
        let kinds = "atsign,deployment,service,pvc,secret,configmap,networkpolicy";
        let list: Value = serde_json::from_str(&namespace.kubectl(&["get", kinds, "-o", "json"])?)?;
        let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
        Ok(list["items"]
            .as_array()
            .context("a list")?
            .iter()
            .map(|o| {
                let meta = &o["metadata"];
                (format!("{}/{}", text(o, "kind"), text(meta, "name")), text(meta, "resourceVersion"))
            })
            .collect())
    };
    // What readiness sets off (used memory, activation) is written once; then it is quiet.
    std::thread::sleep(Duration::from_secs(15));
    let before = versions()?;
    kubectl(&["-n", "atsign-system", "rollout", "restart", "deployment/atsign-operator"])?;
    kubectl(&["-n", "atsign-system", "rollout", "status", "deployment/atsign-operator", "--timeout=120s"])?;
    std::thread::sleep(Duration::from_secs(45));
    assert_eq!(versions()?, before);
    Ok(())
}
