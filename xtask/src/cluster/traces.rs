//! What kubelet, containerd and the network plugins leave on the machine outside the folders that they are given, and
//! how it is undone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::state::Cluster;
use super::teardown::entries;

/// The kernel's settings that the kubelet overwrites when it starts.
const SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// The kubelet's socket for device plugins, wherever its other files are.
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";

/// Notes the kernel's settings before the first kubelet of any of our clusters starts.
///
/// # Errors
/// They cannot be written down.
pub(crate) fn remember(cluster: &Cluster) -> Result<()> {
    let file = settings_file(cluster);
    if file.exists() {
        return Ok(());
    }
    let mut settings = String::new();
    for name in SETTINGS {
        if let Ok(value) = fs::read_to_string(Path::new("/proc/sys").join(name)) {
            settings = format!("{settings}{name}={}\n", value.trim());
        }
    }
    let partial = file.with_extension("partial");
    fs::write(&partial, settings)?;
    fs::rename(&partial, &file).with_context(|| format!("writing {}", file.display()))
}

/// Undoes what this cluster left; and with the last of our clusters what all of them share.
///
/// # Errors
/// Something cannot be removed.
pub(crate) fn remove(cluster: &Cluster) -> Result<()> {
    let state = cluster.state();
    for link in entries(Path::new("/var/log/containers")) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(&state)) {
            fs::remove_file(&link)?;
        }
    }
    remove_shim_sockets(cluster);
    remove_network_results(cluster)?;
    let others = entries(cluster.states()).into_iter().any(|entry| entry.is_dir() && entry != state);
    if !others {
        restore_settings(cluster)?;
        let _ = fs::remove_file(Path::new(DEVICE_PLUGINS).join("kubelet.sock"));
        for folder in [Path::new(DEVICE_PLUGINS), Path::new("/var/lib/kubelet")] {
            // Not ours alone, if there is something in it.
            let _ = fs::remove_dir(folder);
        }
    }
    Ok(())
}

/// containerd keeps them where all containerds of the machine do. Each container's folder names its own.
fn remove_shim_sockets(cluster: &Cluster) {
    for container in entries(&cluster.run().join("containerd/io.containerd.runtime.v2.task/k8s.io")) {
        let address = fs::read_to_string(container.join("address")).unwrap_or_default();
        if let Some(socket) =
            address.strip_prefix("unix://").filter(|path| path.starts_with("/run/containerd/s/"))
        {
            let _ = fs::remove_file(socket);
        }
    }
}

fn remove_network_results(cluster: &Cluster) -> Result<()> {
    let results = entries(Path::new("/var/lib/cni/results"));
    let ours: Vec<_> = results.iter().filter_map(|result| sandbox(result, cluster.name())).collect();
    for result in &results {
        // Each sandbox has a loopback interface too, whose result does not name the cluster.
        let loopback = sandbox(result, "cni-loopback").is_some_and(|id| ours.contains(&id));
        if loopback || sandbox(result, cluster.name()).is_some() {
            fs::remove_file(result)?;
        }
    }
    Ok(())
}

/// The sandbox's id in `<network>-<id>-<interface>`; what belongs to `atsign-test` is not taken for `atsign`'s.
fn sandbox<'a>(result: &'a Path, network: &str) -> Option<&'a str> {
    let rest = result.file_name()?.to_str()?.strip_prefix(network)?.strip_prefix('-')?;
    let (id, _interface) = rest.split_once('-')?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

fn restore_settings(cluster: &Cluster) -> Result<()> {
    let file = settings_file(cluster);
    let Ok(settings) = fs::read_to_string(&file) else { return Ok(()) };
    for (name, value) in settings.lines().filter_map(|line| line.split_once('=')) {
        let path = Path::new("/proc/sys").join(name);
        fs::write(&path, value).with_context(|| format!("setting {} back to {value}", path.display()))?;
    }
    Ok(fs::remove_file(&file)?)
}

/// Beside the clusters, as the machine has one kernel for all of them.
fn settings_file(cluster: &Cluster) -> PathBuf {
    cluster.states().join("kernel-settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_result_belongs_to_the_cluster_whose_whole_name_it_starts_with() {
        let id = "0123456789abcdef".repeat(4);
        let result = PathBuf::from(format!("/var/lib/cni/results/atsign-test-{id}-eth0"));
        assert_eq!(sandbox(&result, "atsign-test"), Some(id.as_str()));
        assert_eq!(sandbox(&result, "atsign"), None);
    }
}
