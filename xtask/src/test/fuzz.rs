//! Every fuzz target for a short time: what a long run once found is found again, and the targets still compile.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Tally;
use crate::host::is_installed;
use crate::progress::step;
use crate::servers::repository;

/// How long each target runs, and how long in the soak.
const SECONDS: u32 = 10;
const SOAK_SECONDS: u32 = 300;

/// Runs the targets, from the seeds and from what earlier runs have found here; each counts as one test.
///
/// # Errors
/// The targets cannot be compiled: there is no nightly toolchain, say.
pub(super) fn run(soak: bool) -> Result<Tally> {
    let seconds = if soak { SOAK_SECONDS } else { SECONDS };
    let folder = repository().join("fuzz");
    let cargo = || {
        let mut cargo = Command::new("cargo");
        // Those of the stable toolchain that runs us would win over +nightly.
        cargo.arg("+nightly").current_dir(&folder).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        cargo
    };
    if !is_installed("cargo-fuzz") {
        step("cargo-fuzz", "installing cargo-fuzz", || {
            let installed = Command::new("cargo").args(["install", "--quiet", "cargo-fuzz"]).status()?;
            ensure!(installed.success(), "cargo-fuzz cannot be installed: `cargo install cargo-fuzz`");
            Ok(())
        })?;
    }
    // Our own code has no unsafe, so the address sanitizer would find nothing and take half of the time.
    let how = ["--sanitizer", "none", "--debug-assertions"];
    step("fuzz", "compiling the fuzz targets", || {
        let status = cargo().args(["fuzz", "build"]).args(how).status().context("running cargo +nightly")?;
        ensure!(
            status.success(),
            "they do not compile; is there a toolchain `nightly` (`rustup toolchain install nightly`)?"
        );
        Ok(())
    })?;

    let mut tally = Tally::default();
    for target in targets(&folder)? {
        let corpus = folder.join("corpus").join(&target);
        std::fs::create_dir_all(&corpus)?;
        tally += Tally::of(step("fuzz", &format!("{target} for {seconds} s"), || {
            let output = cargo()
                .args(["fuzz", "run"])
                .args(how)
                .arg(&target)
                .args([&corpus, &folder.join("seeds").join(&target)])
                .args(["--", &format!("-max_total_time={seconds}"), "-timeout=5", "-rss_limit_mb=1024"])
                .output()?;
            let told = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<_> = told.lines().collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            ensure!(output.status.success(), "the fuzz target {target} found something:\n{last}");
            Ok(())
        }));
    }
    Ok(tally)
}

/// The names of the targets: there is a file for each.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let files = std::fs::read_dir(folder.join("fuzz_targets"))?;
    let mut names = files
        .map(|file| Ok(file?.path().file_stem().context("a name")?.to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
