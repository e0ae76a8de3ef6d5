//! Memory that grows and shrinks under a running server, on a real cluster: the cgroup is what counts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::{Namespace, OPERATOR_NAMESPACE, eventually, kubectl, operator_ca};
use serde_json::{Value, json};

const MI: u64 = 1 << 20;
/// Clients that stay connected from beginning to end.
const LOYAL: usize = 20;
/// Clients that load the server while it climbs, in as many threads as there are.
const BUSY: usize = 8;
/// Values that they keep coming back to: more than the server has memory for at first.
const VALUES: usize = 1500;
/// Bytes of each.
const VALUE: usize = 10_000;

/// The operator with windows that a test can wait for; as it was when this is dropped.
struct Hasty;

impl Hasty {
    fn operator() -> Result<Self> {
        let flags = [
            "--memory-grow-cool-down=3",
            "--memory-shrink-window=30",
            "--memory-shrink-cool-down=10",
            "--memory-wait=5",
        ];
        let append: Vec<Value> = flags
            .iter()
            .map(
                |flag| json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": flag}),
            )
            .collect();
        patch(&["--type=json", "-p", &json!(append).to_string()])?;
        Ok(Self)
    }
}

impl Drop for Hasty {
    fn drop(&mut self) {
        let _ = kubectl(&["-n", OPERATOR_NAMESPACE, "rollout", "undo", "deployment/atsign-operator"]);
        let _ = rolled_out();
    }
}

fn patch(how: &[&str]) -> Result<()> {
    kubectl(&[&["-n", OPERATOR_NAMESPACE, "patch", "deployment/atsign-operator"], how].concat())?;
    rolled_out()
}

fn rolled_out() -> Result<()> {
    let wait =
        ["-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment/atsign-operator", "--timeout=120s"];
    kubectl(&wait).map(drop)
}

fn log_in(namespace: &Namespace, name: &str) -> Result<Client> {
    let host = format!("{name}.{}.svc.cluster.local", namespace.name);
    let mut client = Client::connect(&host, 6464, &operator_ca()?)?;
    client.cram(&format!("@{name}"), &namespace.secret(&format!("{name}-activation"), "cram")?)?;
    Ok(client)
}

/// The file of the memory limit of this pod's server, in the node's cgroups.
fn limit_file(pod: &Value) -> Result<PathBuf> {
    let uid = pod["metadata"]["uid"].as_str().context("the pod has no uid")?;
    let mark = format!("ATSIGN_HOLDER_ID={uid}");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if !environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            continue;
        }
        let groups = std::fs::read_to_string(entry.path().join("cgroup"))?;
        let files = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| {
            [
                PathBuf::from(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
                PathBuf::from(format!("/sys/fs/cgroup{path}/memory.max")),
            ]
        });
        // The pause process of the pod has the pod's environment no more than ours has.
        if let Some(file) = files.into_iter().find(|file| file.exists()) {
            return Ok(file);
        }
    }
    bail!("no process of pod {uid}")
}

fn bytes_in(file: &PathBuf) -> Result<u64> {
    Ok(std::fs::read_to_string(file)?.trim().parse()?)
}

fn until_limit(file: &PathBuf, limit: u64, within: Duration, namespace: &Namespace) -> Result<()> {
    eventually(&format!("the cgroup's limit is {limit}"), within, || {
        let found = bytes_in(file)?;
        ensure!(
            found == limit,
            "it is {found}; {}",
            namespace.kubectl(&[
                "get",
                "ats",
                "-o",
                "jsonpath={.items[*].status.memory} {.items[*].status.conditions}"
            ])?
        );
        Ok(())
    })
}

/// Clients that read and write until they are told to stop. One refused request is one too many.
fn load(
    namespace: &Namespace,
    name: &str,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<std::thread::JoinHandle<Result<u64>>>> {
    let mut threads = Vec::new();
    for number in 0..BUSY {
        let mut client = log_in(namespace, name)?;
        let (name, stop) = (name.to_owned(), stop.clone());
        threads.push(std::thread::spawn(move || {
            let mut requests = 0;
            let mut key = number;
            let value = "v".repeat(VALUE);
            let mut written = vec![false; VALUES];
            while !stop.load(Ordering::Relaxed) {
                let request = if written[key] {
                    format!("llookup:key{key}.demo@{name}")
                } else {
                    written[key] = true;
                    format!("update:key{key}.demo@{name} {value}")
                };
                let answer = client
                    .request(&request)
                    .with_context(|| format!("request {requests} of client {number}"))?;
                ensure!(
                    answer.starts_with("data:"),
                    "request {requests} of client {number}: {}",
                    &answer[..answer.len().min(200)]
                );
                requests += 1;
                key = (key + BUSY) % VALUES;
            }
            Ok(requests)
        }));
    }
    Ok(threads)
}

#[test]
fn memory_climbs_to_the_cap_and_comes_back_while_clients_stay_connected() -> Result<()> {
    let _hasty = Hasty::operator()?;
    let namespace = Namespace::new("memory-climbs")?;
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: climber}, spec: {}}")?;
    namespace.wait_for("climber", "Ready", "True")?;
    let pod = namespace.pod("climber")?;
    let file = limit_file(&pod)?;
    assert_eq!(bytes_in(&file)?, 6 * MI);
    let mut loyal = (0..LOYAL).map(|_| log_in(&namespace, "climber")).collect::<Result<Vec<_>>>()?;

    let (stop, watching) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let seen = Arc::new(Mutex::new(Vec::<(f64, u64)>::new()));
    let peak = Arc::new(AtomicU64::new(0));
    let observer = std::thread::spawn({
        let (watching, seen, peak, file) = (watching.clone(), seen.clone(), peak.clone(), file.clone());
        move || {
            let start = Instant::now();
            while watching.load(Ordering::Relaxed) {
                if let Ok(limit) = bytes_in(&file) {
                    let mut seen = seen.lock().expect("no panic");
                    if seen.last().is_none_or(|(_, last)| *last != limit) {
                        seen.push((start.elapsed().as_secs_f64(), limit));
                        peak.fetch_max(limit, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    let busy = load(&namespace, "climber", &stop)?;
    let climbed = until_limit(&file, 24 * MI, Duration::from_mins(5), &namespace);
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for thread in busy {
        requests += thread.join().expect("no panic")?;
    }
    climbed?;
    ensure!(requests > 0, "nothing was asked");
    // What was hot is forgotten within ten minutes, and the window comes after it.
    let fell = until_limit(&file, 6 * MI, Duration::from_mins(20), &namespace);
    watching.store(false, Ordering::Relaxed);
    observer.join().expect("no panic");
    eprintln!("{requests} requests; limits: {:?}", seen.lock().expect("no panic"));
    fell?;

    for client in &mut loyal {
        ensure!(
            client.request("noop:0")?.starts_with("data:"),
            "a client that stayed connected is not served"
        );
    }
    let after = namespace.pod("climber")?;
    assert_eq!(after["metadata"]["uid"], pod["metadata"]["uid"], "the pod is the same");
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(peak.load(Ordering::Relaxed), 24 * MI);
    let memory = namespace.get("atsign", "climber")?["status"]["memory"].clone();
    assert_eq!(memory["current"], "6Mi", "{memory}");
    let events = namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    for reason in ["MemoryGrown", "MemoryShrunk"] {
        assert!(events.contains(reason), "no Event {reason}: {events}");
    }
    Ok(())
}
