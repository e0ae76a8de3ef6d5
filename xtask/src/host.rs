//! What the machine must have, and how to get it: Debian packages, installed where we may.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::progress::step;

/// A program that the cluster runs, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("cc", "gcc libc6-dev"),
];

/// Installs what the embedded cluster needs.
///
/// # Errors
/// Not root, or a package is missing and cannot be installed; the error names the command to run.
pub(crate) fn prepare() -> Result<()> {
    require_root()?;
    install(&PROGRAMS)
}

/// Installs the packages of the programs that are missing.
///
/// # Errors
/// A package cannot be installed; the error names the command to run.
pub(crate) fn install(programs: &[(&str, &'static str)]) -> Result<()> {
    let missing = missing_packages(programs);
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get update && apt-get install --yes {}", missing.join(" "));
    ensure!(
        is_installed("apt-get"),
        "these programs are missing, and this is not a Debian machine. Install what Debian calls: {}",
        missing.join(" ")
    );
    step("packages", &format!("installing {}", missing.join(" ")), || {
        apt_get(&["update", "-qq"]).and_then(|()| {
            let install = ["install", "--yes", "-qq", "--no-install-recommends"];
            apt_get(&install.into_iter().chain(missing.iter().copied()).collect::<Vec<_>>())
        })
    })
    .with_context(|| format!("packages cannot be installed; try by hand: {by_hand}"))?;
    let missing = missing_packages(programs);
    ensure!(missing.is_empty(), "still missing after they were installed: {}", missing.join(" "));
    Ok(())
}

/// Network namespaces, mounts and cgroups need it.
///
/// # Errors
/// Not root.
pub(crate) fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the embedded cluster needs root, for its network namespace, mounts and cgroups: run `sudo -E env \
             PATH=\"$PATH\" cargo xtask …`, or use a cluster of yours: `cargo xtask up --kubeconfig FILE`"
        );
    }
    Ok(())
}

/// Whether a program, by name or by path, is on this machine.
pub(crate) fn is_installed(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    // root's own folders are not in everybody's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    folders.iter().any(|folder| folder.join(program).is_file())
}

fn missing_packages(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let missing = programs.iter().filter(|(program, _)| !is_installed(program));
    let mut packages: Vec<_> = missing.flat_map(|(_, packages)| packages.split(' ')).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("running apt-get")?;
    ensure!(
        output.status.success(),
        "apt-get {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// This program's file. Compiling the tests may have replaced it since it was started; the new one does as well.
///
/// # Errors
/// The kernel does not tell.
pub(crate) fn own_program() -> Result<PathBuf> {
    let file = std::env::current_exe().context("finding this program's own file")?;
    let text = file.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| file.clone(), PathBuf::from))
}
