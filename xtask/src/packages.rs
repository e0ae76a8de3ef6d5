//! Programs of Debian packages, unpacked into the cache instead of installed.
//!
//! Installing an NFS server would start system services and bring `nfs-common`, which owns `/sbin/mount.nfs`. Only
//! libraries that are missing are installed: they start nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Packages that belong together, unpacked below one folder of the cache.
#[derive(Debug)]
pub(crate) struct Packages {
    /// The folder's name in the cache.
    pub(crate) folder: &'static str,
    /// What Debian calls them.
    pub(crate) names: &'static [&'static str],
}

impl Packages {
    /// Where [`Self::prepare`] puts the programs: a root directory of their own.
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.folder)
    }

    /// Makes sure that the programs are in `cache` and their libraries on the machine. Does nothing when they are.
    ///
    /// # Errors
    /// Not a Debian machine, not root, or the packages are not to be had.
    pub(crate) fn prepare(&self, cache: &Path) -> Result<()> {
        let folder = self.folder(cache);
        if folder.exists() {
            return Ok(());
        }
        fs::create_dir_all(cache)?;
        self.install_libraries()?;
        let work = tempfile::tempdir_in(cache)?;
        run(Command::new("apt-get")
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(self.names)
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
    fn install_libraries(&self) -> Result<()> {
        let mut named = self.libraries();
        if named.is_empty() {
            run(Command::new("apt-get").args(["update", "-qq"]))?;
            named = self.libraries();
        }
        ensure!(!named.is_empty(), "no package {} in this machine's apt sources", self.names.join(", "));
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
    fn libraries(&self) -> Vec<String> {
        let depends = run(Command::new("apt-cache").arg("depends").args(self.names)).unwrap_or_default();
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
