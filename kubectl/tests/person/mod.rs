//! A person at a terminal.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// A person with the plugins in the `PATH`, and a home for the keys.
pub(crate) struct Person {
    pub(crate) home: TempDir,
}

impl Person {
    pub(crate) fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-atsign"), home.path().join("kubectl-atsign"))?;
        let person = Self { home };
        person.ok(&["atsign", "install-create"])?;
        Ok(person)
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        let binaries =
            PathBuf::from(std::env::var_os("ATSIGN_CLUSTER_BIN").context("run this by `cargo xtask test`")?);
        let path =
            std::env::join_paths([self.home.path(), &binaries, Path::new("/usr/bin"), Path::new("/bin")])?;
        let mut command = Command::new(binaries.join("kubectl"));
        command.args(arguments).env("PATH", path).env("HOME", self.home.path()).current_dir(self.home.path());
        Ok(command.output()?)
    }

    /// What it printed, and what it said beside that.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Result<(String, String)> {
        let output = self.kubectl(arguments)?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(output.status.success(), "kubectl {arguments:?} ended with {}: {out}{err}", output.status);
        Ok((out, err))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ok(&[arguments, &["-o", "json"]].concat())?.0)?)
    }
}
