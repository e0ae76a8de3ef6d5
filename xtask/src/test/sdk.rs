//! The official SDK, installed as its users install it, into a virtual environment in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::cluster::tools::short;
use crate::host;
use crate::progress::step;
use crate::servers::repository;

/// The Python that has the SDK; another list of requirements is another environment.
///
/// # Errors
/// There is no Python, or the package index cannot be reached.
pub(super) fn python(cache: &Path) -> Result<PathBuf> {
    let requirements = repository().join("tests/sdk/requirements.txt");
    let wanted = fs::read(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let folder = cache.join(format!("sdk-{}", short(Sha256::new_with_prefix(wanted))));
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if complete.exists() {
        return Ok(python);
    }
    host::install(&[("python3", "python3"), ("/usr/share/doc/python3-venv", "python3-venv")])?;
    step("sdk", "installing the Python SDK into the cache", || {
        // Its programs name their own folder, so it is made where it stays, and marked when it is whole.
        let _ = fs::remove_dir_all(&folder);
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&requirements))?;
        Ok(fs::write(&complete, "")?)
    })?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "the SDK cannot be installed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
