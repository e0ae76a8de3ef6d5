//! NFS for the embedded cluster: a real server, a mount helper for kernels without an NFS client, a provisioner.
//!
//! Everything runs as plain processes beside the cluster, inside the network namespace it is given: nothing listens
//! on the machine's own addresses, no system service starts, and no file of the machine is replaced.
//!
//! Order of use: [`PROGRAMS`] prepared once, [`Server::start`], [`mount::install`] into a folder that is first in the kubelet's
//! `PATH`, and then the [`provisioner`] with its StorageClass.

mod check;
mod daemon;
pub(crate) mod mount;
pub(crate) mod provisioner;
mod server;
mod stores;

pub(crate) use check::check;
pub(crate) use server::Server;

use crate::packages::Packages;

/// The NFS server, its back end for local file systems, and the portmapper.
pub(crate) const PROGRAMS: Packages =
    Packages { folder: "nfs-server", names: &["nfs-ganesha", "nfs-ganesha-vfs", "rpcbind"] };
