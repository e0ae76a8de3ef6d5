//! `/usage`: what the operator asks of a server.

use std::time::Duration;

use atsign_protocol::Usage;
use tokio::time::timeout;

use super::Admin;
use crate::store::Store;

/// A store that does not answer leaves its figures out.
const PATIENCE: Duration = Duration::from_secs(2);

/// The key whose presence says that the atSign was onboarded.
const ACTIVATION: &str = "privatekey:at_pkam_publickey";

/// The figures now.
pub(super) async fn usage(admin: &Admin) -> Usage {
    let memory = admin.gauge.read();
    let mut usage = Usage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        holder: admin.holder.clone(),
        epoch: admin.status.state().epoch(),
        limit: memory.limit,
        needed: memory.pinned(),
        anon: memory.anon,
        kernel: memory.kernel,
        sock: memory.sock,
        dirty: memory.dirty,
        ..Usage::default()
    };
    if let Some(server) = admin.server.get() {
        usage.connections = u32::try_from(server.connections.count()).unwrap_or(u32::MAX);
        usage.refused = server.refused();
        usage.tls_not_after = server.tls.not_after();
        let asked = async { (server.store.size().await, server.store.get(ACTIVATION).await) };
        if let Ok((Ok((keys, bytes)), Ok(activation))) = timeout(PATIENCE, asked).await {
            (usage.keys, usage.store_bytes, usage.activated) = (keys, bytes, activation.is_some());
        }
    }
    usage
}
