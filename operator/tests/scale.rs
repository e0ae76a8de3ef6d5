//! Many AtSigns and one operator, as a process of its own so that it can be weighed. Prints what `docs/benchmarks.md` shows.

mod cluster;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atsign_crds::AtSign;
use atsign_tests::ports;
use atsign_tests::soak::pick;
use cluster::World;
use futures::StreamExt as _;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

const MI: u64 = 1 << 20;

/// The operator's process. Killed when dropped.
struct Process {
    child: Child,
    metrics: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// The optimised program where `cargo xtask test` built one, else the one of this build.
    fn start(world: &World) -> Self {
        let built =
            std::env::var_os("ATSIGN_BIN_DIR").map(|folder| PathBuf::from(folder).join("atsign-operator"));
        let program = built.filter(|program| program.exists());
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_atsign-operator").into());
        let [port] = ports::free().expect("a port");
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = Command::new(program)
            .args(["--namespace", &world.system, "--watch-namespace", &world.namespace])
            // No Service has pods behind it here.
            .args(["--trust-readiness", "--metrics-listen", &metrics.to_string()])
            .args(["--metering-listen", "127.0.0.1:0"])
            .env("KUBECONFIG", &cluster::server().kubeconfig)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .expect("start the operator");
        Self { child, metrics }
    }

    /// Its anonymous memory: the program's own pages come and go as the kernel likes.
    fn kibibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Seconds of a processor so far.
    fn seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        let ticks = |field: usize| fields[field].parse::<f64>().expect("ticks");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// The sum of all series of a metric.
    fn metric(&self, name: &str) -> f64 {
        let lines = self.lines();
        let values = lines.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with(['{', ' '])).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        values.sum()
    }

    fn lines(&self) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.metrics) {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// What was written to the API server, but for the lease.
    fn writes(&self) -> f64 {
        let lines = self.lines();
        let writes = lines.lines().filter(|line| {
            line.starts_with("atsign_operator_api_writes_total{") && !line.contains("\"leases\"")
        });
        writes.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The bucket of a histogram below which this share of its values is.
    fn quantile(&self, name: &str, share: f64) -> f64 {
        let lines = self.lines();
        let prefix = format!("atsign_operator_{name}_seconds_bucket{{le=\"");
        let buckets = lines.lines().filter_map(|line| {
            let (le, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            Some((le.parse::<f64>().ok()?, count.parse::<f64>().ok()?))
        });
        let all = self.metric(&format!("atsign_operator_{name}_seconds_count"));
        buckets.into_iter().find(|(_, count)| *count >= share * all).map_or(f64::INFINITY, |(le, _)| le)
    }
}

async fn count(world: &World, wanted: impl Fn(&AtSign) -> bool) -> usize {
    let api: Api<AtSign> = Api::namespaced(world.client.clone(), &world.namespace);
    api.list(&ListParams::default()).await.expect("list").iter().filter(|at_sign| wanted(at_sign)).count()
}

fn is_at(at_sign: &AtSign, size: &str) -> bool {
    let memory = at_sign.status.as_ref().and_then(|status| status.memory.as_ref());
    memory.is_some_and(|memory| memory.current.as_deref() == Some(size) && memory.used.is_some())
}

/// How long it took. Whoever looks at a thousand objects at a time looks less often.
async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        if holds().await {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(200).max(asked.elapsed() * 4)).await;
    }
}

#[tokio::test]
async fn many_servers_are_kept_by_one_operator_that_rests_when_they_do() {
    let servers = pick(20, 1000);
    let rest = pick(Duration::from_secs(10), Duration::from_mins(5));
    let patience = pick(Duration::from_mins(3), Duration::from_hours(1));
    let world = World::new().await;
    let node = world.node();
    let operator = Process::start(&world);
    until("the operator answers", patience, async || operator.lines().contains("lease_holder 1")).await;
    let empty = operator.kibibytes();

    let api: Api<AtSign> = Api::namespaced(world.client.clone(), &world.namespace);
    let name = |number: usize| format!("server-{number}");
    let made = (0..servers).map(|number| {
        let at_sign = serde_json::from_value(json!({"metadata": {"name": name(number)}, "spec": {}}));
        let (api, at_sign): (_, AtSign) = (api.clone(), at_sign.expect("an AtSign"));
        async move { api.create(&PostParams::default(), &at_sign).await.expect("make an AtSign") }
    });
    futures::stream::iter(made).buffer_unordered(8).count().await;
    let started =
        until("all run", patience, async || count(&world, |it| is_at(it, "6Mi")).await == servers).await;
    // Their memory is kept before the last of them is Ready: what is still to be written is no rest.
    let mut written = operator.writes();
    until("nothing is written any more", patience, async || {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = std::mem::replace(&mut written, operator.writes());
        written - before < 0.5
    })
    .await;

    let before = (operator.seconds(), operator.metric("atsign_operator_usage_requests_total"));
    let (writes, reads) = (operator.writes(), operator.metric("atsign_operator_api_reads_total"));
    tokio::time::sleep(rest).await;
    let minutes = rest.as_secs_f64() / 60.0;
    let busy = (operator.seconds() - before.0) / rest.as_secs_f64() * 100.0;
    let asked = (operator.metric("atsign_operator_usage_requests_total") - before.1) / minutes;
    let wrote = (operator.writes() - writes) / minutes;
    let read = (operator.metric("atsign_operator_api_reads_total") - reads) / minutes;
    let resting = operator.kibibytes();

    println!("{servers} AtSigns, all running after {:.0} s", started.as_secs_f64());
    println!(
        "operator's anonymous memory: {empty} KiB with none, {resting} KiB at rest, {} KiB each",
        resting.saturating_sub(empty) / servers as u64
    );
    println!(
        "at rest: {busy:.2} % of a processor, {asked:.1} requests to servers, {wrote:.1} API writes and {read:.0} reads a minute"
    );
    assert!(wrote < 0.5, "an operator at rest writes nothing");

    // One after the other, so that each is measured by itself.
    let singles = pick(5, 30);
    for number in 0..singles {
        node.needs(&name(number), 9 * MI);
        until("one grows", patience, async || count(&world, |it| is_at(it, "12Mi")).await == number + 1)
            .await;
    }
    let delay = |share: f64| operator.quantile("memory_resize_delay", share);
    println!(
        "from report to PATCH, of {singles}: median below {:.3} s, all below {:.3} s",
        delay(0.5),
        delay(1.0)
    );

    // All others of a node at once: they are let through a few at a time.
    let herd = pick(servers, 100);
    for number in singles..herd {
        node.needs(&name(number), 9 * MI);
    }
    let all = until("all grow", patience, async || count(&world, |it| is_at(it, "12Mi")).await == herd).await;
    let resizes = operator.metric("atsign_operator_memory_resizes_total");
    println!(
        "{} more grown {:.0} s after they all asked; {resizes} resizes",
        herd - singles,
        all.as_secs_f64()
    );
    assert_eq!(resizes.to_string(), herd.to_string(), "each is resized once");
}
