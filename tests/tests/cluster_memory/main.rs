//! Memory that grows and shrinks under a running server, on a real cluster: the cgroup is what counts.

mod nodes;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::cluster::memory::{Hasty, Limit, MI};
use atsign_tests::cluster::{Namespace, eventually};
use atsign_tests::soak::pick;
use serde_json::Value;

/// Clients that stay connected from beginning to end.
const LOYAL: usize = 20;
/// Clients that load the server while it climbs, in as many threads as there are.
const BUSY: usize = 8;
/// Values that they keep coming back to: more than the server has memory for at first.
const VALUES: usize = 1500;
/// Bytes of each.
const VALUE: usize = 10_000;

/// A server at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    second: f64,
    limit: u64,
    needed: u64,
}

/// Looks at limit and need twice a second, the last time after it was told to end.
fn observe(watching: &AtomicBool, seen: &Mutex<Vec<Sample>>, cgroup: &Limit, ip: &str) {
    let start = Instant::now();
    loop {
        let last = !watching.load(Ordering::Relaxed);
        if let (Ok(limit), Ok(needed)) = (cgroup.bytes(), needed(ip)) {
            let sample = Sample { second: start.elapsed().as_secs_f64(), limit, needed };
            seen.lock().expect("no panic").push(sample);
        }
        if last {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What the server says that it needs.
fn needed(ip: &str) -> Result<u64> {
    let mut stream = TcpStream::connect((ip, 9464))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /usage HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split("\r\n\r\n").nth(1).context("an answer without a body")?;
    serde_json::from_str::<Value>(body)?["needed"].as_u64().context("an answer without the need")
}

/// Writes what was seen to the file that `ATSIGN_RECORD` names: second, limit and need in KiB.
fn record(seen: &[Sample]) -> Result<()> {
    let Some(file) = std::env::var_os("ATSIGN_RECORD") else { return Ok(()) };
    let lines = seen
        .iter()
        .map(|Sample { second, limit, needed }| format!("{second:.1} {} {}\n", limit / 1024, needed / 1024));
    std::fs::write(file, lines.collect::<String>())?;
    Ok(())
}

/// Clients that read and write until they are told to stop. One refused request is one too many.
fn load(
    namespace: &Namespace,
    name: &str,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<std::thread::JoinHandle<Result<u64>>>> {
    let mut threads = Vec::new();
    for number in 0..BUSY {
        let mut client = namespace.log_in(name)?;
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
    let _hasty = Hasty::operator(&[])?;
    let namespace = Namespace::new("memory-climbs")?;
    namespace.apply("{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: climber}, spec: {}}")?;
    namespace.wait_for("climber", "Ready", "True")?;
    let pod = namespace.pod("climber")?;
    let cgroup = Limit::of(&pod)?;
    assert_eq!(cgroup.bytes()?, 6 * MI);
    let mut loyal = (0..LOYAL).map(|_| namespace.log_in("climber")).collect::<Result<Vec<_>>>()?;

    let (stop, watching) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let seen = Arc::new(Mutex::new(Vec::<Sample>::new()));
    let observer = std::thread::spawn({
        let (watching, seen, cgroup) = (watching.clone(), seen.clone(), cgroup.clone());
        let ip = pod["status"]["podIP"].as_str().context("the pod has no address")?.to_owned();
        move || observe(&watching, &seen, &cgroup, &ip)
    });
    let busy = load(&namespace, "climber", &stop)?;
    let climbed = cgroup.until(24 * MI, Duration::from_mins(5), &namespace);
    stop.store(true, Ordering::Relaxed);
    let mut requests = 0;
    for thread in busy {
        requests += thread.join().expect("no panic")?;
    }
    climbed?;
    ensure!(requests > 0, "nothing was asked");
    // The server forgets within ten minutes what it needed, and the operator's window comes after it.
    let fell =
        if pick(false, true) { cgroup.until(6 * MI, Duration::from_mins(20), &namespace) } else { Ok(()) };
    watching.store(false, Ordering::Relaxed);
    observer.join().expect("no panic");
    let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
    let mut limits: Vec<u64> = seen.iter().map(|sample| sample.limit / MI).collect();
    limits.dedup();
    eprintln!("{requests} requests; limits: {limits:?}");
    record(&seen)?;
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
    assert!(limits.contains(&24), "{limits:?}");
    // It is told once the pod says so, which is after the kernel has it.
    eventually("an Event tells it", Duration::from_mins(1), || {
        let grown = namespace.kubectl(&[
            "get",
            "events",
            "-o",
            "jsonpath={.items[?(@.reason==\"MemoryGrown\")].message}",
        ])?;
        ensure!(grown.contains("to 24Mi: the server needs"), "the Events are: {grown}");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_server_that_needs_less_gives_its_memory_back_page_cache_and_all() -> Result<()> {
    let _hasty = Hasty::operator(&[])?;
    let namespace = Namespace::new("memory-returns")?;
    let wants = |default: &str| {
        namespace.apply(&format!("{{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: giver}}, spec: {{memory: {{default: {default}}}}}}}"))
    };
    wants("6Mi")?;
    namespace.wait_for("giver", "Ready", "True")?;
    let pod = namespace.pod("giver")?;
    let cgroup = Limit::of(&pod)?;
    assert_eq!(cgroup.bytes()?, 6 * MI);
    wants("24Mi")?;
    cgroup.until(24 * MI, Duration::from_mins(2), &namespace)?;

    // Far more than 6Mi of page cache, which the kubelet counts as used.
    let mut owner = namespace.log_in("giver")?;
    let value = "v".repeat(50_000);
    for number in 0..400 {
        let answer = owner.request(&format!("update:key{number}.demo@giver {value}"))?;
        ensure!(answer.starts_with("data:"), "{answer}");
    }
    wants("6Mi")?;
    cgroup.until(6 * MI, Duration::from_mins(4), &namespace)?;
    assert_eq!(owner.request("llookup:key7.demo@giver")?, format!("data:{value}\n@giver@"));
    let after = namespace.pod("giver")?;
    assert_eq!(after["metadata"]["uid"], pod["metadata"]["uid"], "the pod is the same");
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    eventually("the status tells", Duration::from_mins(1), || {
        let memory = namespace.get("atsign", "giver")?["status"]["memory"].clone();
        ensure!(memory["current"] == "6Mi", "{memory}");
        let reason = memory["lastResizeReason"].as_str().unwrap_or_default();
        ensure!(reason.contains("to 6Mi: the server needs no more than"), "{memory}");
        Ok(())
    })
}
