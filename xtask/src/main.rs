//! cargo xtask up | down | local | test | bench | generate, and the pinned test cluster.

mod bench;
mod cluster;
mod generate;
mod guest;
mod host;
mod image;
mod local;
mod nfs;
mod packages;
mod plot;
mod progress;
mod prove;
mod servers;
mod target;
mod test;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use cluster::Cluster;

/// Tasks of this repository: run them as `cargo xtask <task>`
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Bring up a cluster, the operator and @alice, and prove that she works; safe to run again
    Up(up::Options),
    /// Take the embedded cluster and everything in it away
    Down {
        /// The embedded cluster's name
        #[arg(long, default_value = "atsign")]
        name: String,
    },
    /// kubectl on the embedded cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        /// The embedded cluster's name; before kubectl's own arguments
        #[arg(long, default_value = "atsign")]
        name: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// A command inside the embedded cluster's network, with KUBECONFIG and PATH set
    Enter {
        /// The embedded cluster's name
        #[arg(long, default_value = "atsign")]
        name: String,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run the directory and demo atSigns on this machine, without Kubernetes, until Ctrl-C; safe to run again
    Local(local::Options),
    /// Run the tests, in a cluster of their own where they need one
    Test(test::Options),
    /// Measure the secondary server, and print a table
    Bench(bench::Options),
    /// Write the files that are made from the types
    Generate {
        /// Only say whether they are up to date
        #[arg(long)]
        check: bool,
    },
    #[command(hide = true)]
    Prove { namespace: String, at_sign: String },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            // The whole story in one go; a backtrace would be about this program, not about the cluster.
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Up(options) => up::up(options)?,
        Task::Down { name } => {
            host::require_root()?;
            let cluster = Cluster::named(&name)?;
            let _only_me = cluster.lock()?;
            cluster::down(&cluster)?;
        }
        Task::Kubectl { name, arguments } => {
            let cluster = running(&name)?;
            return Err(cluster::kubectl(&cluster).args(arguments).exec().into());
        }
        Task::Enter { name, command } => {
            let cluster = running(&name)?;
            return Err(cluster::inside(&cluster, &command[0]).args(&command[1..]).exec().into());
        }
        Task::Local(options) => local::local(&options)?,
        Task::Bench(options) => return bench::bench(&options),
        Task::Test(options) => return test::test(&options),
        Task::Generate { check } => generate::generate(check)?,
        Task::Prove { namespace, at_sign } => prove::prove(&namespace, &at_sign)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn running(name: &str) -> Result<Cluster> {
    host::require_root()?;
    let cluster = Cluster::named(name)?;
    ensure!(cluster::is_up(&cluster), "the cluster {name:?} does not run: `cargo xtask up --name {name}`");
    Ok(cluster)
}
