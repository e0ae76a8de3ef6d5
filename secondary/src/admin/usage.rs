//! `/usage` and `/shrink`: what the operator asks of a server about its memory.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atsign_protocol::Usage;
use tokio::time::timeout;

use super::Admin;
use crate::memory;
use crate::store::Store;

/// A store that does not answer in time is told of as it was.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long the store may take to give its memory back.
const SHRINKING: Duration = Duration::from_secs(5);

/// What the store said last.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Stored>);

#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    keys: u64,
    bytes: u64,
    sent_today: u64,
}

/// The figures now.
pub(super) async fn usage(admin: &Admin) -> Usage {
    if let Some(server) = admin.server.get() {
        admin.budget.set_store(server.store.page_bytes());
    }
    let figures = admin.budget.figures(true);
    let memory = figures.memory;
    let (metering, notifications_today) = admin.meter.read(jiff::Timestamp::now().as_millisecond());
    let mut usage = Usage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        holder: admin.holder.clone(),
        epoch: admin.status.state().epoch(),
        activated: *admin.status.activated().borrow(),
        limit: memory.limit,
        needed: figures.needed,
        used: memory.used,
        anon: memory.anon,
        kernel: memory.kernel,
        sock: memory.sock,
        dirty: memory.dirty,
        refused: figures.refused,
        notifications_today,
        metering,
        ..Usage::default()
    };
    if let Some(server) = admin.server.get() {
        usage.connections = u32::try_from(server.connections.count()).unwrap_or(u32::MAX);
        usage.tls_not_after = server.tls.not_after();
        let asked = async {
            let sent = server.store.sent_today(server.now()).await;
            (server.store.size().await, sent)
        };
        let stored = match timeout(PATIENCE, asked).await {
            Ok((Ok((keys, bytes)), Ok(sent_today))) => {
                let stored = Stored { keys, bytes, sent_today };
                admin.remembered.set(stored);
                stored
            }
            _ => admin.remembered.get(),
        };
        (usage.keys, usage.store_bytes, usage.sent_today) = (stored.keys, stored.bytes, stored.sent_today);
    }
    usage
}

/// Gives back what can be given back, keeps to `to` bytes for a while, and tells what is used then.
pub(super) async fn shrink(admin: &Admin, to: u64) -> Usage {
    admin.budget.shrink(to);
    let look = admin.budget.look();
    if let Some(server) = admin.server.get() {
        server.store.set_cache(look.cache);
        if !matches!(timeout(SHRINKING, server.store.shrink()).await, Ok(Ok(()))) {
            tracing::warn!("the store did not give its memory back in time");
        }
    }
    admin.logs.drop_pages();
    memory::trim();
    usage(admin).await
}

impl Remembered {
    fn get(&self) -> Stored {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stored: Stored) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stored;
    }
}
