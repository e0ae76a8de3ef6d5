//! `cargo xtask test`: what the continuous integration runs. Each suite prints its time, the end prints the sum.

mod binaries;
mod cert_manager;
mod cgroup_v2;
mod fuzz;
mod gateway;
mod hello;
mod kernel_nfs;
mod kwok;
mod local;
mod metrics_server;
mod sdk;
mod suite;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum as _};
use suite::{Place, Suite};

use crate::cluster::{self, Cluster, tools};
use crate::servers::{self, cargo};
use crate::{generate, host, nfs, up};

/// The tests' own cluster, so that a developer's atSigns survive them.
pub(crate) const CLUSTER: &str = "atsign-test";

/// Options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this suite; may be given several times [default: all but those with tools of their own]
    #[arg(long, value_enum)]
    suite: Vec<Suite>,
    /// Run all suites, and those tests at length that can: hundreds of kills, minutes of fuzzing; hours
    #[arg(long)]
    soak: bool,
    /// Leave the test cluster up for a look: `cargo xtask kubectl --name atsign-test …`
    #[arg(long)]
    keep: bool,
    /// Run the tests whose name contains this
    #[arg(value_name = "NAME")]
    filter: Option<String>,
}

impl Options {
    /// What runs, in this order.
    fn suites(&self) -> Vec<Suite> {
        let asked = |suite: &Suite| match self.suite.as_slice() {
            [] => self.soak || !suite.is_special(),
            some => some.contains(suite),
        };
        Suite::value_variants().iter().copied().filter(asked).collect()
    }
}

/// A suite in a guest: the cache, a filter, and what its tests are told.
type InGuest = fn(&Path, Option<&str>, &[(&str, PathBuf)]) -> Result<Tally>;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// One check that is not a test of Rust's harness.
    fn of(result: Result<()>) -> Self {
        match result {
            Ok(()) => Self { passed: 1, failed: 0 },
            Err(error) => {
                eprintln!("FAILED: {error:#}");
                Self { passed: 0, failed: 1 }
            }
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs the suites and prints the totals.
///
/// # Errors
/// The test cluster cannot be removed. Whatever fails in the tests, or cannot be built for them, is in the exit code.
pub(crate) fn test(options: &Options) -> Result<ExitCode> {
    let suites = options.suites();
    let cluster = Cluster::named(CLUSTER)?;
    let mut report = Report::default();

    if suites.contains(&Suite::Lint) {
        report.run(Suite::Lint, lint);
    }
    if suites.contains(&Suite::Nfs) && options.filter.is_none() {
        host::prepare()?;
        report.run(Suite::Nfs, || match nfs::check(cluster.cache()) {
            Ok(passed) => Tally { passed, failed: 0 },
            Err(error) => Tally::of(Err(error)),
        });
    }
    if suites.contains(&Suite::Fuzz) {
        report.run(Suite::Fuzz, || match fuzz::run(options.soak) {
            Ok(tally) => tally,
            Err(error) => Tally::of(Err(error)),
        });
    }
    for (suite, run) in [(Suite::KernelNfs, kernel_nfs::run as InGuest), (Suite::CgroupV2, cgroup_v2::run)] {
        if suites.contains(&suite) {
            let soak = options.soak.then(|| ("ATSIGN_SOAK", PathBuf::from("1")));
            report.run(suite, || {
                let ran = run(cluster.cache(), options.filter.as_deref(), soak.as_slice());
                ran.unwrap_or_else(|error| Tally::of(Err(error)))
            });
        }
    }
    if suites.iter().any(|suite| suite.place() != Place::Own) {
        let _only_me = cluster.lock()?;
        // What an earlier run left, so that nothing that passes here leans on it.
        host::require_root()?;
        cluster::down(&cluster)?;
        if let Err(error) = run_binaries(options, &suites, &cluster, &mut report) {
            report.run_named("build", || Tally::of(Err(error)));
        }
        if options.keep && cluster::is_up(&cluster) {
            eprintln!(
                "the cluster is kept: `cargo xtask kubectl --name {CLUSTER} …`, `cargo xtask down --name {CLUSTER}`"
            );
        } else {
            cluster::down(&cluster)?;
        }
    }
    if options.suite.is_empty() {
        for suite in Suite::value_variants().iter().filter(|suite| !suites.contains(suite)) {
            println!("\nnot run: {0} (cargo xtask test --suite {0})", suite.name());
        }
    }
    Ok(report.finish())
}

fn lint() -> Tally {
    let mut tally = Tally::default();
    tally +=
        Tally::of(check(cargo().args(["fmt", "--all", "--check"]), "not formatted: run `cargo fmt --all`"));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    tally += Tally::of(check(cargo().args(clippy), "clippy has objections"));
    tally += Tally::of(generate::generate(true));
    tally
}

fn run_binaries(options: &Options, suites: &[Suite], cluster: &Cluster, report: &mut Report) -> Result<()> {
    host::prepare()?;
    // The directory's tests start a Redis of their own.
    host::install(&[("redis-check-rdb", "redis-tools")])?;
    tools::prepare(cluster)?;
    let servers = servers::build()?;
    let only_cluster = suites.iter().all(|suite| suite.place() != Place::Machine);
    let tests = if only_cluster { binaries::compile_those_of_the_cluster() } else { binaries::compile() }?;
    let of = |suite: Suite| tests.iter().filter(move |test| Suite::of(&test.target) == suite);
    let filter = options.filter.as_deref();

    let known = environment(options, cluster, &servers);
    for suite in suites.iter().copied().filter(|suite| suite.place() == Place::Machine) {
        report.run(suite, || {
            let mut tally = Tally::default();
            for test in of(suite) {
                tally += test.run(Command::new(&test.executable), filter, &known);
            }
            if suite == Suite::Unit && filter.is_none() {
                tally += binaries::documentation();
            }
            tally
        });
    }
    if suites.contains(&Suite::Sdk) && filter.is_none() {
        let python = sdk::python(cluster.cache());
        report.run_named("local", || {
            Tally::of(python.and_then(|python| local::the_sdk_logs_in_with_the_keys_files(&python, &servers)))
        });
    }
    let in_cluster: Vec<_> = suites.iter().copied().filter(|suite| suite.place() == Place::Cluster).collect();
    if in_cluster.is_empty() {
        return Ok(());
    }
    let mut ready = false;
    report.run_named("cluster up", || {
        let mut tally = Tally::of(cluster::up(cluster).context("the test cluster does not come up"));
        if tally.failed == 0 {
            tally += Tally::of(hello::a_service_has_a_name(cluster));
            tally += Tally::of(hello::a_pod_writes_to_an_nfs_claim(cluster));
            tally += Tally::of(up::operator(cluster, &servers).map(drop));
        }
        ready = tally.failed == 0;
        if !ready && cluster::is_up(cluster) {
            show_cluster(cluster);
        }
        tally
    });
    for suite in in_cluster.into_iter().filter(|_| ready) {
        let mut known = known.clone();
        if let Some(start) = suite.guest() {
            start(cluster)?;
        }
        if suite.needs_python() {
            known.push(("ATSIGN_PYTHON", sdk::python(cluster.cache())?));
        }
        report.run(suite, || {
            let mut tally = Tally::default();
            for test in of(suite) {
                let command = cluster::inside(cluster, &test.executable);
                tally += test.run(command, filter, &known);
            }
            if tally.failed > 0 {
                show_cluster(cluster);
            }
            tally
        });
    }
    Ok(())
}

/// What every test may use: the cluster's programs, our servers, and where the cluster keeps things.
fn environment(options: &Options, cluster: &Cluster, servers: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut environment = vec![
        ("ATSIGN_CLUSTER_BIN", cluster.bin()),
        ("ATSIGN_BIN_DIR", servers.to_owned()),
        ("ATSIGN_STATE", cluster.state()),
    ];
    if options.soak {
        environment.push(("ATSIGN_SOAK", "1".into()));
    }
    environment
}

/// For whoever reads the log of a run that failed on another machine.
fn show_cluster(cluster: &Cluster) {
    for words in [
        "get atsigns,pods,pvc --all-namespaces --output wide",
        "get events --all-namespaces --sort-by=.lastTimestamp",
        "--namespace atsign-system logs deployment/atsign-operator --tail=60",
    ] {
        eprintln!("--- kubectl {words}");
        let _ = cluster::kubectl(cluster).args(words.split(' ')).stdout(std::io::stderr()).status();
    }
}

fn check(command: &mut Command, otherwise: &str) -> Result<()> {
    let status = command.status().with_context(|| format!("running {}", command.get_program().display()))?;
    anyhow::ensure!(status.success(), "{otherwise}");
    Ok(())
}

/// What ran, what came of it and how long it took.
#[derive(Debug, Default)]
struct Report(Vec<(String, Tally, Duration)>);

impl Report {
    fn run(&mut self, suite: Suite, work: impl FnOnce() -> Tally) {
        self.run_named(&suite.name(), work);
    }

    fn run_named(&mut self, name: &str, work: impl FnOnce() -> Tally) {
        println!("\n=== {name}");
        let start = Instant::now();
        let tally = work();
        self.0.push((name.to_owned(), tally, start.elapsed()));
    }

    /// The last line is for machines: `N passed, N failed`.
    fn finish(self) -> ExitCode {
        println!();
        let mut total = Tally::default();
        for (name, tally, took) in self.0 {
            println!(
                "{name:>12}  {:>4} passed  {:>3} failed  {:>7.1} s",
                tally.passed,
                tally.failed,
                took.as_secs_f32()
            );
            total += tally;
        }
        println!("\n{} passed, {} failed", total.passed, total.failed);
        // No test at all is a mistyped filter, not a success.
        if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
