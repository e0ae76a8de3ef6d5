//! A Linux kernel of our own to test on: Debian's user-mode-linux, which runs as a process.
//!
//! Its kernel has what the machine's may lack: an NFS client and server, and cgroup v2. The guest's root is the
//! machine's root, read-only, so that every program and library is where it is here; `/run` and `/tmp/…` of its own are
//! in its memory. A *surroundings* script (`guest/*.sh`) makes what a test needs and exports variables for it; then the
//! test program runs with the environment, arguments and working directory that its [`Command`] was given here, its
//! output is the command's, and its exit code too.
//!
//! ```ignore
//! guest::PROGRAMS.prepare(cache)?;
//! let mut command = guest::command(cache, "kernel-nfs.sh", Path::new("/…/the-test-program"));
//! command.env("NAME", "value").arg("name_of_a_test").status()?;
//! ```
//!
//! A new kind of surroundings is one more script beside `guest/kernel-nfs.sh`.

use std::path::Path;
use std::process::Command;

use crate::packages::Packages;

/// The kernel, what loads its modules, and the programs of its NFS server and client.
pub(crate) const PROGRAMS: Packages =
    Packages { folder: "guest", names: &["user-mode-linux", "kmod", "nfs-kernel-server", "nfs-common"] };

/// A command that boots a guest, makes the surroundings and runs `program` there.
pub(crate) fn command(cache: &Path, surroundings: &str, program: &Path) -> Command {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let mut command = Command::new(scripts.join("boot.sh"));
    command.arg(PROGRAMS.folder(cache)).arg(scripts.join(surroundings)).arg(program);
    command
}
