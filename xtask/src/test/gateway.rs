//! Traefik in the test cluster: a gateway for AtSigns of `spec.expose.type: TLSRoute`, with the Gateway API that it is for.

use anyhow::Result;

use crate::cluster::network::NODE_IP;
use crate::cluster::process::Process;
use crate::cluster::tools::Tool;
use crate::cluster::{self, Cluster};
use crate::progress::step;
use crate::up;

const TRAEFIK: Tool = Tool {
    module: "traefik",
    packages: &["."],
    variables: &[],
    renamed: &[],
    patience: "about 2 minutes, once",
};

/// What Traefik's own chart makes beside it.
const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
";

/// Builds it, and starts it beside the cluster's own processes, where the node's port 443 is its.
///
/// # Errors
/// It does not compile, the API server refuses the kinds of the Gateway API, or a process ends at once.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let folder = TRAEFIK.build(cluster.cache())?;
    step("gateway", "the kinds of the Gateway API", || install_kinds(cluster))?;
    up::set(cluster, "gatewayApi.enabled=true")?;
    Process::new("traefik", folder.join("traefik"))
        .arg(format!("--address={NODE_IP}:443"))
        .arg(format!("--status-address={NODE_IP}"))
        .env("KUBECONFIG", cluster.kubeconfig().display().to_string())
        .ensure(cluster)?;
    Ok(())
}

/// Those that Traefik was compiled with, from their own module.
fn install_kinds(cluster: &Cluster) -> Result<()> {
    let kinds = TRAEFIK.source_of("sigs.k8s.io/gateway-api")?.join("config/crd/standard");
    cluster::install_kinds(cluster, &[kinds])?;
    cluster::apply(cluster, CLASS)
}
