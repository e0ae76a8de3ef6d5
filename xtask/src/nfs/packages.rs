//! The NFS server's programs: Debian packages, unpacked into the cache instead of installed.
//!
//! Installing them would start system services and bring `nfs-common`, which owns `/sbin/mount.nfs`. Only libraries
//! that are missing are installed: they start nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What holds the programs: the NFS server, its back end for local file systems, and the portmapper.
const PACKAGES: [&str; 3] = ["nfs-ganesha", "nfs-ganesha-vfs", "rpcbind"];

/// Where [`prepare`] puts the programs.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("nfs-server")
}

/// Makes sure that the server's programs are in `cache` and their libraries on the machine. Does nothing when they
/// are.
///
/// # Errors
/// Not a Debian machine, not root, or the packages are not to be had.
pub(crate) fn prepare(cache: &Path) -> Result<()> {
    let folder = folder(cache);
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(cache)?;
    install_libraries()?;
    let work = tempfile::tempdir_in(cache)?;
    run(Command::new("apt-get")
        .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
        .args(PACKAGES)
        .current_dir(work.path()))?;
    let unpacked = work.path().join("unpacked");
    for entry in fs::read_dir(work.path())? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").args([&package, &unpacked]))?;
        }
    }
    fs::rename(&unpacked, &folder)?;
    Ok(())
}

/// Installs the shared libraries that the programs' packages name and the machine lacks.
fn install_libraries() -> Result<()> {
    let mut named = libraries();
    if named.is_empty() {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        named = libraries();
    }
    ensure!(!named.is_empty(), "no package {} in this machine's apt sources", PACKAGES.join(", "));
    named.retain(|library| !installed(library));
    if named.is_empty() {
        return Ok(());
    }
    run(Command::new("apt-get")
        .args(["install", "-qq", "--yes", "--no-install-recommends"])
        .args(&named)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .map(drop)
}

/// The libraries that the packages name; none while apt knows no such packages.
fn libraries() -> Vec<String> {
    let depends = run(Command::new("apt-cache").arg("depends").args(PACKAGES)).unwrap_or_default();
    let mut named: Vec<String> = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|package| package.starts_with("lib"))
        .map(str::to_owned)
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}

fn installed(package: &str) -> bool {
    run(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Abbrev}", package]))
        .is_ok_and(|status| status.starts_with("ii"))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("running {program}"))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        command.get_args().fold(program, |line, word| format!("{line} {}", word.display())),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
