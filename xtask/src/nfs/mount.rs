//! The mount helper: NFSv3 through FUSE, for machines whose kernel has no NFS client.
//!
//! Nothing is installed on the machine: the kubelet runs `mount` from its `PATH`, and ours, first in it, hands all but
//! NFS to the machine's own. A mount is served by a process called `mount.nfs host:/path folder …`, which inherits the
//! kubelet's environment, ends with the unmount, and logs to the file that [`LOG`] names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cluster::tools::Tool;

/// The environment variable with the log file of the processes that serve mounts.
pub(crate) const LOG: &str = "NFS_MOUNT_LOG";

const HELPER: Tool = Tool {
    module: "nfs-mount",
    packages: &["."],
    variables: &[],
    renamed: &[],
    patience: "a few seconds, once",
};

/// Builds the helper, unless the cache has it, and puts it into `folder` as `mount`.
///
/// # Errors
/// There is no Go, or the folder cannot be written.
pub(crate) fn install(cache: &Path, folder: &Path) -> Result<()> {
    let helper = helper(cache)?;
    let link = folder.join("mount");
    if fs::read_link(&link).ok().as_ref() == Some(&helper) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let _ = fs::remove_file(&link);
    symlink(&helper, &link).with_context(|| format!("linking {}", link.display()))
}

/// The helper's path; run as anything but `mount` it is a mount helper.
pub(super) fn helper(cache: &Path) -> Result<PathBuf> {
    Ok(HELPER.build(cache)?.join("nfs-mount"))
}
