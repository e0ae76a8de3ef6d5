//! The kernel's own NFS, in a guest: two mounts that share no cache stand for two nodes.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{Tally, binaries};
use crate::guest;
use crate::progress::step;

/// The surroundings of all that runs here.
const SURROUNDINGS: &str = "kernel-nfs.sh";

/// What one mount writes is read through the other, and real servers on both mounts are one writer.
///
/// # Errors
/// The guest does not come up, or the tests do not compile.
pub(super) fn run(cache: &Path, filter: Option<&str>, environment: &[(&str, PathBuf)]) -> Result<Tally> {
    step("guest", "unpacking user-mode-linux and the NFS programs", || guest::PROGRAMS.prepare(cache))?;
    let mut tally = Tally::of(two_mounts_of_one_export(cache));
    let test = binaries::compile_one("atsign-secondary", "one_writer")?;
    let mut command = guest::command(cache, SURROUNDINGS, &test.executable);
    command.arg("--test-threads=1");
    tally += test.run(command, filter, environment);
    Ok(tally)
}

fn two_mounts_of_one_export(cache: &Path) -> Result<()> {
    step("kernel-nfs", "two mounts of one export in a guest", || {
        let script = "echo written >$NODE_A/file && cat $NODE_B/file && ! touch /usr/file 2>&1";
        let output = guest::command(cache, SURROUNDINGS, Path::new("bash")).args(["-c", script]).output()?;
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success() && said.contains("\nwritten\n"), "{said}{why}");
        Ok(())
    })
}
