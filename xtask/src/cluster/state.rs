//! Where a cluster keeps what it is made of. Everything carries the cluster's name, so that two run side by side.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The paths and names of one embedded cluster, and of the cache that all of them share.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    name: String,
    states: PathBuf,
    cache: PathBuf,
}

impl Cluster {
    /// The cluster of this name, whether it runs or not.
    ///
    /// # Errors
    /// The name is not a short DNS label, or neither `HOME` nor the `XDG_…` variables are set.
    pub(crate) fn named(name: &str) -> Result<Self> {
        // It becomes a part of socket paths and of interface names, which are short.
        let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            (1..=20).contains(&name.len())
                && name.chars().all(label)
                && name.starts_with(char::is_alphabetic),
            "a cluster's name has at most 20 of a-z, 0-9 and -, and starts with a letter: {name:?}"
        );
        Ok(Self { name: name.to_owned(), states: states()?, cache: user_folder("XDG_CACHE_HOME", ".cache")? })
    }

    /// The cluster's name; also that of its network namespace and of its cgroups.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the cluster remembers: keys, etcd's data, images, volumes, logs.
    pub(crate) fn state(&self) -> PathBuf {
        self.states.join(&self.name)
    }

    /// Where the states of all clusters of this user are.
    pub(crate) fn states(&self) -> &Path {
        &self.states
    }

    /// What must not outlive a reboot: containerd's running state and sockets.
    pub(crate) fn run(&self) -> PathBuf {
        Path::new("/run/atsign-operator").join(&self.name)
    }

    /// What is built once for all clusters.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// The cluster's programs, kubectl and helm among them: links into the cache.
    pub(crate) fn bin(&self) -> PathBuf {
        self.state().join("bin")
    }

    /// Programs that come first in the kubelet's `PATH`.
    pub(crate) fn sbin(&self) -> PathBuf {
        self.state().join("sbin")
    }

    /// The log of a process of the cluster.
    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.state().join("log").join(format!("{process}.log"))
    }

    /// The certificate authority and everybody's keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.state().join("pki")
    }

    /// What the API server shows to those whom it hands requests on to, and who signed it.
    pub(crate) fn front_proxy(&self) -> PathBuf {
        self.pki().join("front-proxy")
    }

    /// A kubeconfig of the administrator, for use inside the cluster's network.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.conf")
    }

    /// Where containerd listens.
    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.run().join("containerd.sock")
    }

    /// The handle of the network namespace.
    pub(crate) fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Takes the cluster for this process: two commands at once on one cluster would undo each other's work.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub(crate) fn lock(&self) -> Result<File> {
        lock(&self.states.join(format!("{}.lock", self.name)))
    }
}

/// Waits for the lock file and holds it until the result is dropped, or the process dies in whatever way.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn lock(path: &Path) -> Result<File> {
    fs::create_dir_all(path.parent().context("a lock file stands in a folder")?)?;
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("{:>12}  another cargo xtask holds {}", "waiting", path.display());
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

/// Where everything that runs on this machine is kept: clusters, and the local environment.
///
/// # Errors
/// Neither `HOME` nor `XDG_STATE_HOME` is set.
pub(crate) fn states() -> Result<PathBuf> {
    user_folder("XDG_STATE_HOME", ".local/state")
}

fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(folder) => folder,
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(below_home),
    };
    Ok(folder.join("atsign-operator"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_short_label_is_refused() {
        for name in ["", "Upper", "../etc", "a/b", "1st", "a-name-of-more-than-twenty-letters"] {
            assert!(Cluster::named(name).is_err(), "{name}");
        }
        assert_eq!(Cluster::named("atsign-test").unwrap().netns(), Path::new("/run/netns/atsign-test"));
    }
}
