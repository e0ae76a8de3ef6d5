//! What a cluster has beside Kubernetes itself: DNS, and NFS volumes by a StorageClass.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::network::NODE_IP;
use super::process::{self, Process};
use super::state::Cluster;
use super::tools::COREDNS;
use super::{apply, inside, node};
use crate::image::Image;
use crate::nfs;
use crate::progress::{step, wait_until};

const COREDNS_MANIFEST: &str = include_str!("../../cluster/manifests/coredns.yaml");

/// Installs the add-ons, or whatever of them changed.
///
/// # Errors
/// An image cannot be built, a process not be started, or the API server refuses a manifest.
pub(crate) fn ensure(cluster: &Cluster) -> Result<()> {
    step("cluster", "add-ons: NFS server, provisioner and StorageClass", || {
        let server = nfs_server(cluster)?;
        server.start()?;
        Process::new("nfs-provisioner", cluster.bin().join("nfs-provisioner"))
            .args(nfs::provisioner::arguments(&server, &cluster.kubeconfig()))
            .ensure(cluster)?;
        apply(cluster, nfs::provisioner::STORAGE_CLASS)
    })?;
    step("cluster", "add-ons: CoreDNS", || {
        let digest = import_coredns(cluster)?;
        apply(cluster, &COREDNS_MANIFEST.replace("{digest}", &digest))
    })
}

/// Waits until the cluster's DNS answers, by the address that pods ask: a ready pod is not yet behind its Service.
///
/// # Errors
/// It does not in time.
pub(crate) fn wait_ready(cluster: &Cluster) -> Result<()> {
    let look_at = "`cargo xtask kubectl -n kube-system describe pods`";
    wait_until("the cluster's DNS answers", Duration::from_mins(1), look_at, || {
        process::require_running(cluster, "nfs-provisioner")?;
        let lookup = ["hosts", "kubernetes.default.svc.cluster.local"];
        Ok(inside(cluster, "getent").args(lookup).output()?.status.success())
    })
}

/// The NFS server in the cluster's network.
///
/// # Errors
/// None: the node's address is one.
pub(crate) fn nfs_server(cluster: &Cluster) -> Result<nfs::Server> {
    Ok(nfs::Server {
        netns: cluster.name().to_owned(),
        ip: NODE_IP.parse()?,
        state: cluster.state(),
        cache: cluster.cache().to_owned(),
    })
}

fn import_coredns(cluster: &Cluster) -> Result<String> {
    let folder = COREDNS.folder(cluster.cache())?;
    let images = cluster.state().join("images");
    fs::create_dir_all(&images)?;
    let archive = images.join("coredns.tar");
    let digest = Image::of_program("coredns", &folder.join("coredns")).write(&archive)?;
    node::import(cluster, &archive, &digest)?;
    Ok(digest)
}
