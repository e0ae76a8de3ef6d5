//! cargo xtask up | down | test | generate, and the pinned test cluster.

mod cluster;
mod host;
#[allow(dead_code, reason = "TEMP")]
mod image;
#[allow(dead_code, reason = "TEMP")]
mod nfs;
mod progress;

use std::os::unix::process::CommandExt as _;

use anyhow::Result;
use clap::{Parser, Subcommand};
use cluster::Cluster;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Up,
    Down,
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> Result<()> {
    let cluster = Cluster::named("atsign")?;
    match Arguments::parse().command {
        Task::Up => {
            let _only_me = cluster.lock()?;
            cluster::up(&cluster)
        }
        Task::Down => cluster::down(&cluster),
        Task::Kubectl { arguments } => Err(cluster::kubectl(&cluster).args(arguments).exec().into()),
    }
}
