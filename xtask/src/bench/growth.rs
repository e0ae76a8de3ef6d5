//! How soon a server in a cluster has more memory once it needs more: from a command that it has no room for to the new
//! limit in the node's cgroup, with the operator's flags as they are.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::cluster::Namespace;
use atsign_tests::cluster::memory::{Limit, MI};

use super::Row;

const SERVERS: usize = 10;

/// Bytes of values: a server of 6, 8 and 12 MiB each has no room for the next one, and with the memory that it gets then
/// it has.
const VALUES: [usize; 3] = [900_000, 1_200_000, 2_200_000];

/// A server grows once in ten seconds, and is asked what it needs at most once a second: each growth begins at rest.
const REST: Duration = Duration::from_secs(12);

/// Far more than any growth may take.
const PATIENCE: Duration = Duration::from_mins(1);

struct Server {
    name: String,
    owner: Client,
    limit: Limit,
    /// When it grew last, or was ready.
    since: Instant,
}

pub(super) fn run() -> Result<Vec<Row>> {
    let namespace = Namespace::new("bench-growth")?;
    let mut servers = (1..=SERVERS).map(|number| start(&namespace, number)).collect::<Result<Vec<_>>>()?;
    let mut took = Vec::new();
    for bytes in VALUES {
        for server in &mut servers {
            sleep(REST.saturating_sub(server.since.elapsed()));
            took.push(server.grow(bytes)?);
        }
    }
    took.sort();
    let millis = |took: Duration| format!("{:.0} ms", took.as_secs_f64() * 1000.0);
    Ok(vec![
        Row::new(
            "from need to the new limit in the cgroup, median of 30",
            millis(took[took.len() / 2]),
            "1 s",
        ),
        Row::new("the slowest of them", millis(took[took.len() - 1]), "3 s"),
    ])
}

fn start(namespace: &Namespace, number: usize) -> Result<Server> {
    let name = format!("bench{number}");
    namespace.apply(&format!(
        "{{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: {name}}}, spec: {{}}}}"
    ))?;
    namespace.wait_for(&name, "Ready", "True")?;
    let limit = Limit::of(&namespace.pod(&name)?)?;
    ensure!(limit.bytes()? == 6 * MI, "{name} starts with {}", limit.bytes()?);
    let owner = namespace.log_in(&name)?;
    Ok(Server { name, owner, limit, since: Instant::now() })
}

impl Server {
    /// Needs more than four fifths of what it has by a command that does not fit, and returns how long it took until it
    /// had more. The command's way to the server is in it.
    fn grow(&mut self, bytes: usize) -> Result<Duration> {
        let before = self.limit.bytes()?;
        let command = format!("update:value.bench@{} {}\n", self.name, "v".repeat(bytes));
        let began = Instant::now();
        self.owner.send(command.as_bytes())?;
        while self.limit.bytes()? <= before {
            ensure!(began.elapsed() < PATIENCE, "{} did not grow from {before} bytes", self.name);
            sleep(Duration::from_millis(2));
        }
        let took = began.elapsed();
        // Refused, or stored where it grew while the command was still on its way.
        self.owner.answer().context("the answer to a command that is too large")?;
        self.since = Instant::now();
        Ok(took)
    }
}
