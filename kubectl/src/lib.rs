//! The kubectl plugins `kubectl atsign` and `kubectl create atsign`.
//!
//! A file for each command: it has the command's arguments, what it reads from the cluster, and what it makes of that.
//! What a command shows is a value first, so that `-o json` and the text for people never tell different stories;
//! rendering and judging are pure. [`cluster`] holds the client, [`outcome`] what scripts are told.

pub mod activate;
pub mod admin_port;
pub mod arguments;
pub mod backup;
pub mod backup_file;
pub mod change;
pub mod cluster;
pub mod complete;
pub mod create;
pub mod doctor;
pub mod find;
pub mod install;
pub mod list;
pub mod logs;
pub mod next;
pub mod outcome;
pub mod output;
pub mod redact;
pub mod report;
pub mod restore;
pub mod server;
pub mod status;
pub mod tier;
pub mod time;
pub mod top;
pub mod wait;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Atsign, Command, CreateAtsign};
use outcome::Outcome;

/// Runs the plugin as which this program was called: its name decides, as with the links that `install-create` makes.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|program| Path::new(program).file_name()).unwrap_or_default();
    match name.to_str() {
        Some("kubectl-create-atsign") => execute(CreateAtsign::parse().into()),
        Some("kubectl_complete-atsign") => complete::complete(arguments),
        _ => execute(Atsign::parse()),
    }
}

fn execute(atsign: Atsign) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return outcome::failed(&error.into()),
    };
    match runtime.block_on(command(atsign)) {
        Ok(outcome) => outcome.into(),
        Err(error) => outcome::failed(&error),
    }
}

async fn command(atsign: Atsign) -> anyhow::Result<Outcome> {
    let Atsign { cluster, command } = atsign;
    match command {
        Command::Create(arguments) => create::create(&cluster, arguments).await,
        Command::List(arguments) => list::list(&cluster, &arguments).await,
        Command::Top(arguments) => top::top(&cluster, &arguments).await,
        Command::Status(arguments) => status::status(&cluster, &arguments).await,
        Command::Activate(arguments) => activate::activate(&cluster, &arguments).await,
        Command::Tier(arguments) => tier::tier(&cluster, &arguments).await,
        Command::Suspend(arguments) => change::suspend(&cluster, &arguments, true).await,
        Command::Resume(arguments) => change::suspend(&cluster, &arguments, false).await,
        Command::Restart(arguments) => change::restart(&cluster, &arguments).await,
        Command::Backup(arguments) => Box::pin(backup::backup(&cluster, &arguments)).await,
        Command::Restore(arguments) => Box::pin(restore::restore(&cluster, &arguments)).await,
        Command::Logs(arguments) => logs::logs(&cluster, &arguments).await,
        Command::Report(arguments) => Box::pin(report::report(&cluster, &arguments)).await,
        Command::Doctor(arguments) => doctor::doctor(&cluster, &arguments).await,
        Command::InstallCreate(arguments) => install::install(&arguments),
    }
}
