//! `cargo xtask bench`: what the secondary server costs and how fast it is, on the optimised binary. Prints a table.

mod crowd;
mod idle;
mod start;
mod updates;

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use clap::{Args, ValueEnum};

use crate::{host, servers};

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this; may be given several times [default: all]
    #[arg(value_enum)]
    only: Vec<Benchmark>,
    /// The servers are built, and where
    #[arg(long, hide = true)]
    built: bool,
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
        // Started anew with the folder of the binaries in its environment, where the tests' helpers look for it.
        let folder = servers::build()?;
        let status = Command::new(std::env::current_exe()?)
            .arg("bench")
            .arg("--built")
            .args(
                options
                    .only
                    .iter()
                    .filter_map(ValueEnum::to_possible_value)
                    .map(|one| one.get_name().to_owned()),
            )
            .env("ATSIGN_BIN_DIR", folder)
            .status()?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let all = Benchmark::value_variants();
    let chosen = if options.only.is_empty() { all } else { &options.only };
    let mut rows = Vec::new();
    for benchmark in chosen {
        eprintln!("{benchmark:?} …");
        rows.extend(match benchmark {
            Benchmark::Idle => idle::run()?,
            Benchmark::Crowd => crowd::run()?,
            Benchmark::Start => start::run()?,
            Benchmark::Updates => updates::run()?,
        });
    }
    println!("| what | measured | goal |\n| --- | --- | --- |");
    for Row { what, value, goal } in rows {
        println!("| {what} | {value} | {goal} |");
    }
    Ok(ExitCode::SUCCESS)
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
