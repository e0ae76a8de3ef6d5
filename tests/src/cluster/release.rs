//! The operator's Helm release: other values of the chart, for a while.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{OPERATOR_NAMESPACE, repository};

/// The release's and the chart's name.
const RELEASE: &str = "atsign-operator";

/// The release with other values, until dropped.
pub struct Upgraded(());

impl Upgraded {
    /// Upgrades the release with a file of the repository over its values, and with single ones over that. Returns once
    /// the operator and the directory are available.
    pub fn with(values: &str, set: &str) -> Result<Self> {
        let chart = repository().join("charts").join(RELEASE);
        let mut helm = helm("upgrade")?;
        helm.arg(chart)
            .arg("--reuse-values")
            .arg("--values")
            .arg(repository().join(values))
            .args(["--set", set]);
        run(&mut helm)?;
        Ok(Self(()))
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // Where it fails the tests that follow fail, and say how.
        if let Err(error) = helm("rollback").and_then(|mut helm| run(&mut helm)) {
            eprintln!("{error:#}");
        }
    }
}

fn helm(verb: &str) -> Result<Command> {
    let folder = std::env::var_os("ATSIGN_CLUSTER_BIN");
    let folder = PathBuf::from(folder.context("ATSIGN_CLUSTER_BIN: run this by `cargo xtask test`")?);
    let mut helm = Command::new(folder.join("helm"));
    helm.args([verb, RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "120s"]);
    Ok(helm)
}

fn run(helm: &mut Command) -> Result<()> {
    let output = helm.output().with_context(|| format!("{helm:?}"))?;
    ensure!(output.status.success(), "{helm:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
