//! NFS for the embedded cluster: a real server, a mount helper for kernels without an NFS client, a provisioner.
//!
//! Everything runs as plain processes beside the cluster, inside the network namespace it is given: nothing listens
//! on the machine's own addresses, no system service starts, and no file of the machine is replaced.
//!
//! Order of use: [`prepare`] once, [`Server::start`], [`mount::install`] into a folder that is first in the kubelet's
//! `PATH`, and then the [`provisioner`] with its StorageClass.

mod check;
mod daemon;
pub(crate) mod mount;
mod packages;
pub(crate) mod provisioner;
mod server;
mod stores;

pub(crate) use check::check;
pub(crate) use packages::prepare;
pub(crate) use server::Server;
