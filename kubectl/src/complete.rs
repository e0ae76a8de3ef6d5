//! Shell completion as kubectl asks for it: it runs `kubectl_complete-atsign` with the words so far, and reads a line for
//! each that may follow.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use atsign_crds::{AtSign, AtSignTier};
use clap::CommandFactory as _;
use clap_complete::CompletionCandidate;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::arguments::Atsign;
use crate::cluster::{self, Cluster};
use crate::output::print;

/// How long a shell is kept waiting for names.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many names are asked for.
const MANY: u32 = 500;
/// To the shell, by way of kubectl (cobra's `ShellCompDirectiveNoFileComp`): these are all there are, no file names.
const NO_FILES: &str = ":4";

/// Prints what may follow.
pub fn complete(arguments: Vec<OsString>) -> ExitCode {
    let last = arguments.len().saturating_sub(1);
    // Flags only to who began to write one: they would hide the names.
    let wants_flags = arguments.last().is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let is_wanted = |candidate: &&CompletionCandidate| {
        !candidate.is_hide_set() && (wants_flags || !candidate.get_value().to_string_lossy().starts_with('-'))
    };
    let found = clap_complete::engine::complete(&mut Atsign::command(), arguments, last, None);
    let lines: String = found.unwrap_or_default().iter().filter(is_wanted).map(line).collect();
    match print(&format!("{lines}{NO_FILES}\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn line(candidate: &CompletionCandidate) -> String {
    let value = candidate.get_value().to_string_lossy();
    match candidate.get_help().map(ToString::to_string) {
        Some(help) => format!("{value}\t{}\n", help.lines().next().unwrap_or_default()),
        None => format!("{value}\n"),
    }
}

/// The AtSigns of the namespace.
pub fn names(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, async |cluster| {
        let found = cluster.api::<AtSign>().list_metadata(&ListParams::default().limit(MANY)).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    })
}

/// The tiers.
pub fn tiers(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, async |cluster| {
        let tiers: Api<AtSignTier> = Api::all(cluster.client.clone());
        let found = tiers.list_metadata(&ListParams::default().limit(MANY)).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    })
}

/// What the cluster answers within moments; nothing, if it does not.
fn candidates(
    current: &OsStr,
    ask: impl AsyncFn(Cluster) -> anyhow::Result<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let answer = || -> anyhow::Result<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let cluster = said_so_far(std::env::args()).connect().await?;
            tokio::time::timeout(PATIENCE, ask(cluster)).await?
        })
    };
    let found = answer().unwrap_or_default();
    found.into_iter().filter(|name| name.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// The flags that choose a cluster, of a command line that is not complete yet.
fn said_so_far(arguments: impl Iterator<Item = String>) -> cluster::Arguments {
    let mut said = cluster::Arguments {
        namespace: None,
        context: None,
        kubeconfig: None,
        impersonate: None,
        operator_namespace: String::new(),
    };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (argument, arguments.peek().cloned()),
        };
        match flag.as_str() {
            "-n" | "--namespace" => said.namespace = value,
            "--context" => said.context = value,
            "--kubeconfig" => said.kubeconfig = value.map(Into::into),
            "--as" => said.impersonate = value,
            _ => {}
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_of_the_cluster_that_the_command_line_chooses() {
        let words =
            ["kubectl_complete-atsign", "status", "-n", "home", "--context=work", "--kubeconfig", "k", "al"];
        let said = said_so_far(words.into_iter().map(str::to_owned));
        assert_eq!(said.namespace.as_deref(), Some("home"));
        assert_eq!(said.context.as_deref(), Some("work"));
        assert_eq!(said.kubeconfig.as_deref(), Some(std::path::Path::new("k")));
    }
}
