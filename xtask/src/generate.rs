//! `cargo xtask generate`: files that are made from the types, and from what was recorded.

use anyhow::{Context as _, Result, ensure};

use crate::plot;
use crate::servers::{cargo, repository};

/// Writes the CRDs, for people and for the chart, and the pictures of the docs; with `check` only says whether they are what
/// types and records say.
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
    picture(check)
}

fn picture(check: bool) -> Result<()> {
    let docs = repository().join("docs");
    let recorded = std::fs::read_to_string(docs.join("memory-run.txt")).context("docs/memory-run.txt")?;
    let (svg, file) = (plot::svg(&recorded)?, docs.join("memory-run.svg"));
    if check {
        let drawn = std::fs::read_to_string(&file).unwrap_or_default();
        ensure!(drawn == svg, "docs/memory-run.svg is stale: run `cargo xtask generate`");
        return Ok(());
    }
    std::fs::write(&file, svg).with_context(|| format!("write {}", file.display()))
}
