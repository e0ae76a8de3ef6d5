//! A memory limit by a control group of version 2, in a guest: a hostile load does not get the server killed there either.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Tally, binaries};
use crate::progress::step;
use crate::{guest, servers};

/// The surroundings of all that runs here.
const SURROUNDINGS: &str = "cgroup-v2.sh";

/// The test of the secondary server. Its others that run in a control group need a file system that gives page cache back
/// when it is told to, which the guest's is not.
const TARGET: &str = "hostile";

/// Runs it, server and clients in the guest.
///
/// # Errors
/// The guest's packages are not to be had, or something does not compile.
pub(super) fn run(cache: &Path, filter: Option<&str>, environment: &[(&str, PathBuf)]) -> Result<Tally> {
    step("guest", "unpacking user-mode-linux", || guest::PROGRAMS.prepare(cache))?;
    let mut environment = environment.to_vec();
    // As it is shipped: of another build the code alone is larger than the limit.
    environment.push(("ATSIGN_BIN_DIR", servers::build()?));
    let test = binaries::compile_one("atsign-secondary", TARGET)?;
    Ok(test.run(guest::command(cache, SURROUNDINGS, &test.executable), filter, &environment))
}
