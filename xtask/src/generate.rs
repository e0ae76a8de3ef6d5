//! `cargo xtask generate`: files that are made from the types.

use anyhow::{Context as _, Result, ensure};

use crate::servers::cargo;

/// Writes the CRDs, for people and for the chart; with `check` only says whether they are what the types say.
///
/// # Errors
/// The generator does not compile, or with `check` a file is stale.
pub(crate) fn generate(check: bool) -> Result<()> {
    let mut crdgen = cargo();
    crdgen.args(["run", "--quiet", "--package", "atsign-crds", "--bin", "crdgen"]);
    if check {
        crdgen.args(["--", "--check"]);
    }
    let done = crdgen.status().context("running cargo")?;
    ensure!(done.success(), "generated files are stale or cannot be written: run `cargo xtask generate`");
    Ok(())
}
