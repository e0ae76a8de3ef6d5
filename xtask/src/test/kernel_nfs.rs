//! The kernel's own NFS, in a guest: two mounts that share no cache stand for two nodes.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::guest;
use crate::progress::step;

/// What one mount writes is read through the other.
///
/// # Errors
/// It is not, or the guest does not come up.
pub(super) fn run(cache: &Path) -> Result<()> {
    step("guest", "unpacking user-mode-linux and the NFS programs", || guest::PROGRAMS.prepare(cache))?;
    step("kernel-nfs", "two mounts of one export in a guest", || {
        let script = "echo written >$NODE_A/file && cat $NODE_B/file && ! touch /usr/file 2>&1";
        let output =
            guest::command(cache, "kernel-nfs.sh", Path::new("bash")).args(["-c", script]).output()?;
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success() && said.contains("\nwritten\n"), "{said}{why}");
        Ok(())
    })
}
