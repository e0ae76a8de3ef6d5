//! A notification in memory, and what it takes there: some have hundreds of kilobytes, and many may be told at a time.

use tokio::time::sleep;

use crate::atserver::AtServer;
use crate::memory::account::SMALL;
use crate::memory::{Lease, Taker};
use crate::session::PATIENCE;
use crate::store::notifications::{Found, Notification, Which};
use crate::store::{Store, StoreError};

/// What a byte of it costs while it is told: itself, its line, and what is sent of that.
const COPIES: u64 = 3;

/// A notification for as long as it is told.
pub(crate) struct Held {
    /// It.
    pub(crate) notification: Box<Notification>,
    /// Its memory, to be dropped when it is told.
    pub(crate) lease: Lease,
}

/// Reads one; what is more than a trifle once there is memory for it, however long that takes: it is told late, and not left out. May be
/// dropped while it waits; nothing is lost.
pub(crate) async fn read<S: Store>(
    server: &AtServer<S>,
    taker: Taker,
    which: Which,
) -> Result<Option<Held>, StoreError> {
    let mut lease = server.budget.lease(taker);
    let mut most = SMALL;
    loop {
        match server.store.notification(which.clone(), most).await? {
            None => return Ok(None),
            Some(Found::Notification(notification)) => {
                lease.fill(most);
                return Ok(Some(Held { notification, lease }));
            }
            Some(Found::Larger(bytes)) => {
                lease = server.budget.lease(taker);
                while !lease.grow_within(bytes.saturating_mul(COPIES), PATIENCE).await {
                    // Where no wait would help this limit has to grow first.
                    sleep(PATIENCE).await;
                }
                most = bytes;
            }
        }
    }
}
