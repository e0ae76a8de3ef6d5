//! NFS for the embedded cluster: a real server, a mount helper for kernels without an NFS client, a provisioner.
//!
//! Everything runs as plain processes beside the cluster, inside the network namespace it is given: nothing listens
//! on the machine's own addresses, no system service starts, and no file of the machine is replaced.
//!
//! Order of use: [`prepare`] once, then [`Server::start`], the kubelet with [`mount::install`]'s folder first in its
//! `PATH`, then [`Provisioner::start`](provisioner::Provisioner::start).

mod daemon;
pub(crate) mod mount;
mod packages;
mod server;

pub(crate) use packages::prepare;
pub(crate) use server::Server;
