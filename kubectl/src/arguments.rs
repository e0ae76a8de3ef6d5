//! What may stand on the command line.

use clap::{Args, Parser, Subcommand};

use crate::{
    activate, backup, change, cluster, create, doctor, install, list, logs, report, restore, status, tier,
    top,
};

/// Exit codes, for `--help` and the documentation.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; with status and doctor also: all is well
  1  refused or failed: the message says by whom and why; nothing was changed unless it says so
  2  the command line makes no sense
  3  the AtSign is not ready, or doctor found a problem
  4  --timeout ran out";

const EXAMPLES: &str = "\
Examples:
  kubectl atsign create alice --tier pro --wait    make @alice and wait until she is served
  kubectl atsign activate alice                    log in for the first time, write @alice_key.atKeys
  kubectl atsign status alice                      what she is, where, why she is not ready, what to do
  kubectl atsign list -A                           every AtSign that you may see
  kubectl atsign top --sort-by memory              what the servers use now
  kubectl atsign tier alice basic --wait           sell @alice another tier; nothing restarts
  kubectl atsign backup alice -o alice.backup      all that she has in a file, while she is served
  kubectl atsign doctor                            is this cluster fit for atSigns?

Flags stand behind `kubectl atsign`: kubectl finds no plugin behind flags of its own.
";

/// atSigns on Kubernetes: make them, look at them, look after them
#[derive(Debug, Parser)]
#[command(name = "kubectl-atsign", bin_name = "kubectl atsign", version, max_term_width = 100)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
pub struct Atsign {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: cluster::Arguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Make an atSign and its server
#[derive(Debug, Parser)]
#[command(name = "kubectl-create-atsign", bin_name = "kubectl create atsign", version, max_term_width = 100)]
#[command(after_help = create::EXAMPLES)]
pub struct CreateAtsign {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: cluster::Arguments,
    /// What to make.
    #[command(flatten)]
    pub create: create::Arguments,
}

impl From<CreateAtsign> for Atsign {
    fn from(CreateAtsign { cluster, create }: CreateAtsign) -> Self {
        Self { cluster, command: Command::Create(Box::new(create)) }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an atSign and its server: the same as `kubectl create atsign`
    #[command(after_help = create::EXAMPLES)]
    Create(Box<create::Arguments>),
    /// The AtSigns and how they are
    #[command(visible_alias = "ls", after_help = list::EXAMPLES)]
    List(list::Arguments),
    /// What the servers use: memory, storage, connections
    #[command(after_help = top::EXAMPLES)]
    Top(top::Arguments),
    /// One AtSign on one screen: what it is, where, why it is not ready, what to do
    #[command(after_help = status::EXAMPLES)]
    Status(status::Arguments),
    /// Log in for the first time, and write the keys file that SDKs read
    #[command(after_help = activate::EXAMPLES)]
    Activate(activate::Arguments),
    /// The tiers that there are, or another one for an AtSign
    #[command(after_help = tier::EXAMPLES)]
    Tier(tier::Arguments),
    /// Stop a server and keep its data
    Suspend(change::Arguments),
    /// Start a suspended server again
    Resume(change::Arguments),
    /// Restart a server, with the settings of its tier as they are now
    Restart(change::Arguments),
    /// Everything that a server has as a file: keys, notifications, enrollments
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Arguments),
    /// Make a server's data what a backup file holds
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Arguments),
    /// What a server says
    #[command(after_help = logs::EXAMPLES)]
    Logs(logs::Arguments),
    /// Collect what a supporter needs in one file, without any secret
    #[command(after_help = report::EXAMPLES)]
    Report(report::Arguments),
    /// Check whether this cluster is fit for atSigns, and what to do where it is not
    Doctor(doctor::Arguments),
    /// Link `kubectl create atsign` and the shell completion to this program
    #[command(after_help = install::EXAMPLES)]
    InstallCreate(install::Arguments),
}

/// One AtSign.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Name {
    /// The AtSign: its name, or its atSign with the @ (quote an emoji if your shell needs it)
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::names))]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_lines_make_sense_to_clap() {
        Atsign::command().debug_assert();
        CreateAtsign::command().debug_assert();
    }
}
