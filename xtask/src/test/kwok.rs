//! The KWOK controller in the test cluster: it plays nodes for whoever makes a Node object with its annotation.

use anyhow::Result;

use crate::cluster::Cluster;
use crate::cluster::process::Process;
use crate::cluster::tools::Tool;

const KWOK: Tool = Tool {
    module: "kwok",
    packages: &["sigs.k8s.io/kwok/cmd/kwok"],
    variables: &[],
    renamed: &[],
    patience: "about 2 minutes, once",
};

/// Builds it, and starts it beside the cluster's own processes. The real node it leaves alone.
///
/// # Errors
/// It does not compile, or ends at once.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let folder = KWOK.build(cluster.cache())?;
    Process::new("kwok", folder.join("kwok"))
        .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
        .arg("--manage-all-nodes=false")
        .arg("--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake")
        .ensure(cluster)?;
    Ok(())
}
