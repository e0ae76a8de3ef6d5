//! Memory limits by control groups of version 2, in a guest: what the server promises holds there as it does here.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Tally, binaries};
use crate::progress::step;
use crate::{guest, servers};

/// The surroundings of all that runs here.
const SURROUNDINGS: &str = "cgroup-v2.sh";

/// The tests of the secondary server that run in a control group.
const TARGETS: [&str; 2] = ["memory", "hostile"];

/// Runs them, server and clients in the guest.
///
/// # Errors
/// The guest's packages are not to be had, or something does not compile.
pub(super) fn run(cache: &Path, filter: Option<&str>, environment: &[(&str, PathBuf)]) -> Result<Tally> {
    step("guest", "unpacking user-mode-linux", || guest::PROGRAMS.prepare(cache))?;
    let mut environment = environment.to_vec();
    // As it is shipped: of another build the code alone is larger than the limit.
    environment.push(("ATSIGN_BIN_DIR", servers::build()?));
    let mut tally = Tally::default();
    for target in TARGETS {
        let test = binaries::compile_one("atsign-secondary", target)?;
        let mut command = guest::command(cache, SURROUNDINGS, &test.executable);
        command.arg("--test-threads=1");
        tally += test.run(command, filter, &environment);
    }
    Ok(tally)
}
