//! The node: containerd, the kubelet and kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::network::{DNS_IP, NODE_IP, POD_CIDR};
use super::process::{self, Process};
use super::state::Cluster;
use super::{kubectl, wait_for_log};
use crate::image;
use crate::nfs;
use crate::progress::wait_until;

/// The node's name.
pub(crate) const NODE: &str = "node1";

/// Starts containerd and returns once it answers.
///
/// # Errors
/// It ends, or does not answer in time.
pub(crate) fn ensure_containerd(cluster: &Cluster) -> Result<()> {
    let config = cluster.state().join("containerd.toml");
    fs::create_dir_all(cluster.run())?;
    write_cni(cluster)?;
    Process::new("containerd", "containerd")
        .arg("--config")
        .arg(config.display().to_string())
        .config(&config, &containerd_config(cluster))?
        .ensure(cluster)?;
    let log = wait_for_log(cluster, "containerd");
    wait_until("containerd answers", Duration::from_secs(30), &log, || {
        process::require_running(cluster, "containerd")?;
        Ok(ctr(cluster).arg("version").output().is_ok_and(|output| output.status.success()))
    })
}

/// Starts the kubelet and kube-proxy, which need the API server and containerd.
///
/// # Errors
/// One of them cannot be started.
pub(crate) fn ensure(cluster: &Cluster) -> Result<()> {
    for hierarchy in cgroup_hierarchies()? {
        fs::create_dir_all(hierarchy.join(cluster.name()))
            .with_context(|| format!("making a cgroup in {}", hierarchy.display()))?;
    }
    nfs::mount::install(cluster.cache(), &cluster.sbin())?;
    let config = cluster.state().join("kubelet.json");
    Process::new("kubelet", cluster.bin().join("kubelet"))
        .arg(format!("--config={}", config.display()))
        .arg(format!("--kubeconfig={}", cluster.pki().join("kubelet.conf").display()))
        .arg(format!("--hostname-override={NODE}"))
        .arg(format!("--node-ip={NODE_IP}"))
        .arg(format!("--root-dir={}", cluster.state().join("kubelet").display()))
        // The kubelet runs `mount`; what stands there knows how to mount NFS where the kernel does not.
        .env(
            "PATH",
            format!(
                "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                cluster.sbin().display()
            ),
        )
        .env(nfs::mount::LOG, cluster.log("nfs-mount").display().to_string())
        .config(&config, &kubelet_config(cluster))?
        .ensure(cluster)?;
    Process::new("kube-proxy", cluster.bin().join("kube-proxy"))
        .arg(format!("--kubeconfig={}", cluster.pki().join("proxy.conf").display()))
        .arg(format!("--hostname-override={NODE}"))
        .arg("--proxy-mode=nftables")
        .arg(format!("--cluster-cidr={POD_CIDR}"))
        // These sysctls are the host's, not the namespace's: leave them alone.
        .args(["--conntrack-max-per-core=0", "--conntrack-min=0"])
        .args(["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"])
        .ensure(cluster)?;
    Ok(())
}

/// Waits until the scheduler may use the node.
///
/// # Errors
/// The kubelet ends, or the node is not Ready in time.
pub(crate) fn wait_ready(cluster: &Cluster) -> Result<()> {
    let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    let log = wait_for_log(cluster, "kubelet");
    wait_until("the node is Ready", Duration::from_secs(90), &log, || {
        process::require_running(cluster, "kubelet")?;
        process::require_running(cluster, "kube-proxy")?;
        Ok(kubectl(cluster).args(["get", "node", NODE, "-o", ready]).output()?.stdout == b"True")
    })
}

/// Imports an image unless containerd has had exactly this archive.
///
/// # Errors
/// The archive cannot be read, or what containerd says.
pub(crate) fn import(cluster: &Cluster, archive: &Path, digest: &str) -> Result<()> {
    let imported =
        cluster.state().join("imported").join(archive.file_name().context("an archive has a name")?);
    if fs::read_to_string(&imported).ok().as_deref() == Some(digest) {
        return Ok(());
    }
    image::import(&cluster.containerd_socket(), archive)?;
    if let Some(folder) = imported.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(&imported, digest)?)
}

/// `ctr` on the cluster's containerd.
pub(crate) fn ctr(cluster: &Cluster) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(cluster.containerd_socket()).args(["--namespace", "k8s.io"]);
    command
}

/// Where a cgroup of the cluster's name is made: each controller of version 1, or the one tree of version 2.
///
/// # Errors
/// /sys/fs/cgroup cannot be read.
pub(crate) fn cgroup_hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_owned()]);
    }
    let mut hierarchies = Vec::new();
    for entry in fs::read_dir(root).context("reading /sys/fs/cgroup")? {
        let path = entry?.path();
        // Links name the same hierarchy twice (cpu, cpuacct).
        if path.is_dir() && !path.is_symlink() && path.join("cgroup.procs").exists() {
            hierarchies.push(path);
        }
    }
    Ok(hierarchies)
}

/// Where the kubelet keeps the logs of containers.
pub(crate) fn pod_logs(cluster: &Cluster) -> PathBuf {
    cluster.state().join("log").join("pods")
}

/// `restrict_oom_score_adj`: without it every sandbox fails where `CAP_SYS_RESOURCE` is missing ("can't get final
/// child's PID").
fn containerd_config(cluster: &Cluster) -> String {
    let (state, run) = (cluster.state(), cluster.run());
    let (state, run) = (state.display(), run.display());
    format!(
        r#"version = 2
root = "{state}/containerd"
state = "{run}/containerd"
[grpc]
  address = "{run}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "{pause}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{run}/runc"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
"#,
        pause = image::PAUSE,
    )
}

/// Point to point and not a bridge: what pods say to each other then always passes the rules of kube-proxy, also on
/// the way back, with no kernel module for bridges that filter.
fn write_cni(cluster: &Cluster) -> Result<()> {
    let folder = cluster.state().join("cni");
    fs::create_dir_all(&folder)?;
    let network = json!({
        "cniVersion": "1.0.0",
        "name": cluster.name(),
        "plugins": [{
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "dataDir": cluster.run().join("addresses"),
                "ranges": [[{"subnet": POD_CIDR}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    Ok(fs::write(folder.join("10-pods.conflist"), network.to_string())?)
}

fn kubelet_config(cluster: &Cluster) -> String {
    let pki = |file: &str| cluster.pki().join(file);
    format!(
        "{:#}\n",
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", cluster.containerd_socket().display()),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": pki("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": pki("kubelet.crt"),
            "tlsPrivateKeyFile": pki("kubelet.key"),
            "clusterDNS": [DNS_IP],
            "clusterDomain": "cluster.local",
            "failCgroupV1": false,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", cluster.name()),
            "failSwapOn": false,
            "maxPods": 250,
            "podLogsDir": pod_logs(cluster),
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
            // A changed ConfigMap or Secret reaches a pod with its next sync: tests wait for that.
            "syncFrequency": "5s",
            // Images come by import; one that was collected would not come again.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        })
    )
}
