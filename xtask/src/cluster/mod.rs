//! A real Kubernetes cluster of one node, embedded: made of processes in a network namespace of its own.

mod addons;
mod control_plane;
pub(crate) mod network;
pub(crate) mod node;
mod pki;
pub(crate) mod process;
mod state;
mod teardown;
pub(crate) mod tools;
mod traces;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

pub(crate) use state::{Cluster, states};
pub(crate) use teardown::down;

use crate::progress::step;
use crate::{host, image, nfs};

/// Brings the cluster up, or completes what is there: what runs as it should is left alone.
///
/// # Errors
/// Something cannot be installed, built or started; the error says what to do.
pub(crate) fn up(cluster: &Cluster) -> Result<()> {
    host::prepare()?;
    nfs::PROGRAMS.prepare(cluster.cache())?;
    tools::prepare(cluster)?;
    step("cluster", &format!("{}: network namespace and keys", cluster.name()), || {
        traces::remember(cluster)?;
        network::ensure(cluster)?;
        pki::ensure(cluster)
    })?;
    step("cluster", "control plane: etcd, API server, controllers, scheduler", || {
        control_plane::ensure(cluster)
    })?;
    step("cluster", "node: containerd, kubelet, kube-proxy", || {
        node::ensure_containerd(cluster)?;
        let pause = image::pause(cluster.cache())?;
        node::import(cluster, &pause, &pause.display().to_string())?;
        node::ensure(cluster)
    })?;
    addons::ensure(cluster)?;
    step("cluster", "waiting until node, DNS and volumes are ready", || {
        node::wait_ready(cluster)?;
        addons::wait_ready(cluster)
    })
}

/// kubectl as the administrator, inside the cluster's network.
pub(crate) fn kubectl(cluster: &Cluster) -> Command {
    enter(cluster, cluster.bin().join("kubectl"))
}

/// A command inside the cluster's network, with `KUBECONFIG` set and the cluster's programs first in its `PATH`.
pub(crate) fn enter(cluster: &Cluster, program: impl AsRef<OsStr>) -> Command {
    let mut command = network::enter(cluster, program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(cluster.bin()).chain(std::env::split_paths(&path)));
    command.env("KUBECONFIG", cluster.kubeconfig()).envs(path.map(|path| ("PATH", path)));
    command
}

/// The same for a command that also looks up names of Services: there the cluster's DNS is everybody's. It sees a
/// resolv.conf that nobody else does, in a mount namespace which goes when it ends.
pub(crate) fn inside(cluster: &Cluster, program: impl AsRef<OsStr>) -> Command {
    let mut command = enter(cluster, "unshare");
    command
        .args(["--mount", "--propagation", "slave", "--", "sh", "-c"])
        .arg(r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#)
        .arg(network::resolv_conf(cluster))
        .arg(program);
    command
}

/// Applies manifests given as text.
///
/// # Errors
/// What kubectl says.
pub(crate) fn apply(cluster: &Cluster, manifests: &str) -> Result<()> {
    let file = cluster.state().join("apply.yaml");
    fs::write(&file, manifests)?;
    let applied = kubectl(cluster)
        .args(["apply", "--server-side", "--force-conflicts", "-f"])
        .arg(&file)
        .output()
        .context("running kubectl")?;
    anyhow::ensure!(
        applied.status.success(),
        "applying {}: {}",
        file.display(),
        String::from_utf8_lossy(&applied.stderr).trim()
    );
    Ok(())
}

/// Adds the kinds that files or folders define, and waits until they are served.
///
/// # Errors
/// What kubectl says.
pub(crate) fn install_kinds(cluster: &Cluster, definitions: &[PathBuf]) -> Result<()> {
    let mut apply = kubectl(cluster);
    apply.args(["apply", "--server-side"]);
    for definition in definitions {
        apply.arg("-f").arg(definition);
    }
    let mut wait = kubectl(cluster);
    wait.args(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
    for mut command in [apply, wait] {
        let output = command.output().context("running kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{definitions:?}: {}", said.trim());
    }
    Ok(())
}

/// Whether the cluster is there to be used.
pub(crate) fn is_up(cluster: &Cluster) -> bool {
    process::running(cluster, "kube-apiserver").is_some()
}

/// The words that name a process's log in an error.
fn wait_for_log(cluster: &Cluster, process: &str) -> String {
    cluster.log(process).display().to_string()
}
