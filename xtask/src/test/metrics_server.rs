//! metrics-server in the test cluster, as a process beside the cluster's own; and a server of another image than ours, whose
//! memory nobody else measures.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::network::NODE_IP;
use crate::cluster::process::{self, Process};
use crate::cluster::tools::Tool;
use crate::cluster::{self, Cluster, node};
use crate::image::Image;
use crate::progress::{step, wait_until};

const METRICS_SERVER: Tool = Tool {
    module: "metrics-server",
    packages: &["sigs.k8s.io/metrics-server/cmd/metrics-server"],
    variables: &[],
    renamed: &[],
    patience: "about 3 minutes, once",
};

const OTHER_SERVER: Tool = Tool {
    module: "other-server",
    packages: &["."],
    variables: &[],
    renamed: &[],
    patience: "some seconds, once",
};

const MANIFEST: &str = include_str!("../../cluster/manifests/metrics-server.yaml");

/// Builds both, starts the one and lays the other into an image, and waits until the API server hands requests on.
///
/// # Errors
/// Something does not compile, or `metrics.k8s.io` is not served in time.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let folder = METRICS_SERVER.build(cluster.cache())?;
    let kubeconfig = cluster.kubeconfig().display().to_string();
    Process::new("metrics-server", folder.join("metrics-server"))
        .arg(format!("--kubeconfig={kubeconfig}"))
        .arg(format!("--authentication-kubeconfig={kubeconfig}"))
        .arg(format!("--authorization-kubeconfig={kubeconfig}"))
        .arg(format!("--cert-dir={}", cluster.state().join("metrics-server").display()))
        .arg("--secure-port=4443")
        .arg(format!("--kubelet-certificate-authority={}", cluster.pki().join("ca.crt").display()))
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg("--kubelet-use-node-status-port")
        // The least that it takes.
        .args(["--metric-resolution=10s", "--kubelet-request-timeout=5s"])
        .ensure(cluster)?;
    import_other_server(cluster)?;
    step("metrics", "waiting until metrics.k8s.io tells of the node", || {
        cluster::apply(cluster, &MANIFEST.replace("{node}", NODE_IP))?;
        let log = cluster.log("metrics-server").display().to_string();
        wait_until("metrics.k8s.io tells of the node", Duration::from_mins(2), &log, || {
            process::require_running(cluster, "metrics-server")?;
            let asked = cluster::kubectl(cluster).args(["top", "node", "node1"]).output()?;
            Ok(asked.status.success())
        })
    })
}

fn import_other_server(cluster: &Cluster) -> Result<()> {
    let program = OTHER_SERVER.build(cluster.cache())?.join("other-server");
    let archive = cluster.state().join("images/other-server.tar");
    let digest = Image::of_program("other-server", &program).write(&archive)?;
    node::import(cluster, &archive, &digest)
}
