//! The cluster's network: a namespace of its own, so that kube-proxy's rules and the pods' interfaces never touch the
//! host, and go when it goes.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::state::Cluster;

/// The node's address. Not a loopback address, which the kubelet would refuse.
pub(crate) const NODE_IP: &str = "10.11.0.1";

/// Where pods get their addresses from.
pub(crate) const POD_CIDR: &str = "10.244.0.0/16";

/// Where Services get their addresses from.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";

/// The Service `kubernetes`: the first address of [`SERVICE_CIDR`].
pub(crate) const API_SERVICE_IP: &str = "10.96.0.1";

/// The cluster's DNS.
pub(crate) const DNS_IP: &str = "10.96.0.10";

/// Makes the namespace, or completes one that an interrupted run left.
///
/// # Errors
/// What `ip` says.
pub(crate) fn ensure(cluster: &Cluster) -> Result<()> {
    // A file without a namespace behind it is what a reboot or a kill between two steps leaves.
    if cluster.netns().exists() && !run(cluster, "true", &[] as &[&str]) {
        let _ = fs::remove_file(cluster.netns());
    }
    if !cluster.netns().exists() {
        let made =
            Command::new("ip").args(["netns", "add", cluster.name()]).output().context("running ip")?;
        ensure!(
            made.status.success(),
            "ip netns add {}: {}",
            cluster.name(),
            String::from_utf8_lossy(&made.stderr).trim()
        );
    }
    let resolv = format!(
        "nameserver {DNS_IP}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    );
    fs::create_dir_all(cluster.state())?;
    fs::write(resolv_conf(cluster), resolv)?;
    if run(cluster, "ip", &["route", "get", API_SERVICE_IP]) {
        return Ok(());
    }
    // The node's address needs an interface that is up without a cable: a bridge with no port. Not every kernel has
    // dummy links.
    let address = format!("{NODE_IP}/24");
    for step in [
        &["link", "set", "lo", "up"] as &[&str],
        &["link", "add", "node0", "type", "bridge"],
        &["address", "replace", &address, "dev", "node0"],
        &["link", "set", "node0", "up"],
        // Leads nowhere: a Service's address needs a route before kube-proxy's rules see the packet.
        &["route", "replace", "default", "dev", "node0"],
    ] {
        let output = enter(cluster, "ip").args(step).output().context("running nsenter")?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() || words.contains("File exists"),
            "ip {}: {}",
            step.join(" "),
            words.trim()
        );
    }
    ensure!(
        run(cluster, "sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]),
        "forwarding cannot be switched on in the cluster's network namespace"
    );
    Ok(())
}

/// A command inside the cluster's network. Not `ip netns exec`, which would hide /sys/fs/cgroup from it.
pub(crate) fn enter(cluster: &Cluster, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", cluster.netns().display())).arg("--").arg(program);
    command
}

/// What a process inside may use as its /etc/resolv.conf, to look names up as a pod does.
pub(crate) fn resolv_conf(cluster: &Cluster) -> PathBuf {
    cluster.state().join("resolv.conf")
}

/// Removes the namespace and everything in it.
///
/// # Errors
/// What `ip` says.
pub(crate) fn remove(cluster: &Cluster) -> Result<()> {
    if !cluster.netns().exists() {
        return Ok(());
    }
    let removed =
        Command::new("ip").args(["netns", "delete", cluster.name()]).output().context("running ip")?;
    if !removed.status.success() {
        // A file that never became a namespace.
        fs::remove_file(cluster.netns()).with_context(|| {
            format!("ip netns delete {}: {}", cluster.name(), String::from_utf8_lossy(&removed.stderr).trim())
        })?;
    }
    Ok(())
}

fn run(cluster: &Cluster, program: &str, arguments: &[impl AsRef<OsStr>]) -> bool {
    enter(cluster, program).args(arguments).output().is_ok_and(|output| output.status.success())
}
