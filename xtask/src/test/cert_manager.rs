//! cert-manager in the test cluster: its controllers as a process beside the cluster's own, and the kinds that they serve.
//! Nobody converts or judges those kinds, so there is no webhook: the API server holds them against their schema.

use anyhow::Result;

use crate::cluster::process::Process;
use crate::cluster::tools::Tool;
use crate::cluster::{self, Cluster};
use crate::up;

const CERT_MANAGER: Tool = Tool {
    module: "cert-manager",
    packages: &["."],
    variables: &[],
    renamed: &[],
    patience: "about 5 minutes, once",
};

/// The kinds that a CA needs; those of ACME are left out.
const KINDS: [&str; 4] = ["certificaterequests", "certificates", "clusterissuers", "issuers"];

/// Builds and starts it, and lets the operator use it.
///
/// # Errors
/// It does not compile or ends at once, or the API server refuses a definition.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let folder = CERT_MANAGER.build(cluster.cache())?;
    let definitions = CERT_MANAGER.source_of("github.com/cert-manager/cert-manager")?.join("deploy/crds");
    let definitions = KINDS.map(|kind| definitions.join(format!("cert-manager.io_{kind}.yaml")));
    cluster::install_kinds(cluster, &definitions)?;
    Process::new("cert-manager", folder.join("cert-manager"))
        .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
        .ensure(cluster)?;
    up::set(cluster, "certManager.enabled=true")
}
