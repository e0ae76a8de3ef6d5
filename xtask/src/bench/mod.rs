//! `cargo xtask bench`: what the secondary server costs, how fast it is and how soon it has more memory, with the optimised
//! binaries. Prints a table.

mod crowd;
mod growth;
mod idle;
mod start;
mod updates;

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use clap::{Args, ValueEnum};

use crate::cluster::{self, Cluster};
use crate::{host, servers, test, up};

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this; may be given several times [default: all that need no cluster]
    #[arg(value_enum)]
    only: Vec<Benchmark>,
    /// The servers are built, and where
    #[arg(long, hide = true)]
    built: bool,
}

impl Options {
    fn chosen(&self) -> Vec<Benchmark> {
        match self.only.as_slice() {
            [] => Benchmark::value_variants().iter().copied().filter(|one| !one.needs_cluster()).collect(),
            some => some.to_vec(),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Memory of a server at rest
    Idle,
    /// 200 idle connections and 50,000 keys in 6 MiB
    Crowd,
    /// Time to readiness with 50,000 keys
    Start,
    /// Durable updates a second, from one connection and from 16
    Updates,
    /// From need to a new memory limit, 30 times, in the tests' cluster
    Growth,
}

impl Benchmark {
    fn needs_cluster(self) -> bool {
        self == Self::Growth
    }
}

/// One line of the table.
pub(crate) struct Row {
    what: &'static str,
    value: String,
    goal: &'static str,
}

impl Row {
    fn new(what: &'static str, value: impl Into<String>, goal: &'static str) -> Self {
        Self { what, value: value.into(), goal }
    }
}

/// Builds the server, measures, and prints.
///
/// # Errors
/// The server cannot be built or does not do what is measured.
pub(crate) fn bench(options: &Options) -> Result<ExitCode> {
    host::require_root()?;
    if !options.built {
        return again(options);
    }
    let chosen = options.chosen();
    let mut rows = Vec::new();
    for benchmark in chosen {
        eprintln!("{benchmark:?} …");
        rows.extend(match benchmark {
            Benchmark::Idle => idle::run()?,
            Benchmark::Crowd => crowd::run()?,
            Benchmark::Start => start::run()?,
            Benchmark::Updates => updates::run()?,
            Benchmark::Growth => growth::run()?,
        });
    }
    println!("| what | measured | goal |\n| --- | --- | --- |");
    for Row { what, value, goal } in rows {
        println!("| {what} | {value} | {goal} |");
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts itself anew where the tests' helpers find what they need: the binaries, and the cluster if one is needed.
fn again(options: &Options) -> Result<ExitCode> {
    let folder = servers::build()?;
    let chosen = options.chosen();
    let words = chosen.iter().filter_map(ValueEnum::to_possible_value).map(|one| one.get_name().to_owned());
    let measure = |mut command: Command| -> Result<ExitCode> {
        let status =
            command.args(["bench", "--built"]).args(words).env("ATSIGN_BIN_DIR", &folder).status()?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    };
    let own = servers::build_clients()?;
    if !chosen.iter().any(|one| one.needs_cluster()) {
        return measure(Command::new(own));
    }
    let cluster = Cluster::named(test::CLUSTER)?;
    let _only_me = cluster.lock()?;
    cluster::down(&cluster)?;
    let measured = cluster::up(&cluster).and_then(|()| up::operator(&cluster, &folder)).and_then(|_| {
        let mut command = cluster::inside(&cluster, own);
        command.env("ATSIGN_CLUSTER_BIN", cluster.bin());
        measure(command)
    });
    cluster::down(&cluster)?;
    measured
}

/// Stores so many keys of 200 bytes.
fn fill(server: &Secondary, keys: usize) -> Result<()> {
    const TOGETHER: usize = 500;
    let mut owner = server.connect_as_owner()?;
    let value = "v".repeat(200);
    for first in (0..keys).step_by(TOGETHER) {
        let mut batch = String::from("batch:[");
        for key in first..(first + TOGETHER).min(keys) {
            let separator = if key > first { "," } else { "" };
            write!(batch, "{separator}{{\"id\":{key},\"command\":\"update:key{key}.bench@alice {value}\"}}")?;
        }
        batch.push(']');
        let answer = owner.request(&batch)?;
        ensure!(answer.starts_with("data:[{") && !answer.contains("error"), "{answer}");
    }
    Ok(())
}

/// Connections of the owner.
fn owners(server: &Secondary, count: usize) -> Result<Vec<Client>> {
    (0..count)
        .map(|number| server.connect_as_owner().with_context(|| format!("connection {number}")))
        .collect()
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}
