//! Takes a cluster away: containers, processes, mounts, network namespace, cgroups, state. Each step looks for what is
//! really there, so it works after any crash, and twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::addons::nfs_server;
use super::network;
use super::node::cgroup_hierarchies;
use super::process;
use super::state::Cluster;
use super::traces;
use crate::progress::step;

/// Removes everything of the cluster but the shared cache. The caller holds its lock.
///
/// # Errors
/// Something is left; the error says what.
pub(crate) fn down(cluster: &Cluster) -> Result<()> {
    step("down", &format!("{}: processes and containers", cluster.name()), || end_processes(cluster))?;
    step("down", "mounts, network namespace, cgroups, state", || {
        unmount_all(cluster)?;
        network::remove(cluster)?;
        remove_cgroups(cluster)?;
        traces::remove(cluster)?;
        for folder in [cluster.run(), cluster.state()] {
            remove_folder(&folder)?;
        }
        Ok(())
    })
}

/// Without asking: what they would save on the way out is removed anyway. First whatever starts others, so that
/// nothing comes back.
fn end_processes(cluster: &Cluster) -> Result<()> {
    process::kill(&process::all(cluster))?;
    nfs_server(cluster)?.stop()?;
    kill_containers(cluster)
}

fn kill_containers(cluster: &Cluster) -> Result<()> {
    let start = Instant::now();
    loop {
        let mut pids = Vec::new();
        for root in cgroups(cluster)? {
            for cgroup in below(&root) {
                let Ok(members) = fs::read_to_string(cgroup.join("cgroup.procs")) else { continue };
                pids.extend(members.lines().filter_map(|line| line.parse::<u32>().ok()));
            }
        }
        pids.retain(|&pid| !process::is_dead(pid));
        if pids.is_empty() {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(20) {
            bail!("processes {pids:?} of containers do not end even when killed: look at /proc/<id>/stack");
        }
        for pid in pids {
            process::send(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The deepest first. A mount whose server has gone is detached without asking it.
fn unmount_all(cluster: &Cluster) -> Result<()> {
    let folders = [cluster.state(), cluster.run()];
    for _ in 0..10 {
        let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
        let mut mounts: Vec<PathBuf> = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4).map(|path| PathBuf::from(unescape(path))))
            .filter(|path| folders.iter().any(|folder| path.starts_with(folder)))
            .collect();
        if mounts.is_empty() {
            return Ok(());
        }
        mounts.sort();
        for mount in mounts.iter().rev() {
            // Another mount of the list may have taken it along; the next look at the table tells.
            let _ = unmount(mount, UnmountFlags::DETACH);
        }
    }
    bail!("mounts below {} cannot be removed: see /proc/self/mountinfo", cluster.state().display())
}

/// The mount table writes a space as \040.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn remove_cgroups(cluster: &Cluster) -> Result<()> {
    for root in cgroups(cluster)? {
        let start = Instant::now();
        while root.exists() {
            for cgroup in below(&root) {
                let _ = fs::remove_dir(cgroup);
            }
            // The kernel empties a cgroup some time after its last process died.
            if start.elapsed() > Duration::from_secs(10) {
                bail!("the cgroup {} cannot be removed: its cgroup.procs says who is in it", root.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<()> {
    let start = Instant::now();
    while folder.exists() {
        let removed = fs::remove_dir_all(folder);
        if start.elapsed() > Duration::from_secs(5) {
            return removed.with_context(|| format!("removing {}", folder.display()));
        }
    }
    Ok(())
}

fn cgroups(cluster: &Cluster) -> Result<Vec<PathBuf>> {
    let roots = cgroup_hierarchies()?.into_iter().map(|hierarchy| hierarchy.join(cluster.name()));
    Ok(roots.filter(|root| root.exists()).collect())
}

/// The folder and all folders below it, children before parents.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        entries(folder).into_iter().filter(|path| path.is_dir()).flat_map(|path| below(&path)).collect();
    found.push(folder.to_owned());
    found
}

/// What stands in a folder; nothing if it is not there.
pub(super) fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}
