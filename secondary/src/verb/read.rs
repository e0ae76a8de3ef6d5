//! Reading keys within the budget: a value that is more than a trifle comes into memory only where there is room for it.

use atsign_protocol::{AtError, ErrorCode};

use crate::atserver::AtServer;
use crate::memory::account::SMALL;
use crate::memory::{Lease, Taker};
use crate::session::Client;
use crate::store::{Fetched, Record, Store};

/// What a byte of a value costs until it is sent: SQLite's copy, ours, and what is written of it.
const COPIES: u64 = 3;

/// A record, and the memory that it takes where that is more than a trifle: keep it as long as the value.
pub(crate) struct Held {
    pub(crate) record: Record,
    pub(crate) lease: Option<Lease>,
}

/// One key that a client asks for. `None`: there is none.
pub(crate) async fn read<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    key: &str,
) -> Result<Option<Held>, AtError> {
    let held = skim(server, client.taker(), key).await?;
    if client.is_owner() {
        let value = held.as_ref().and_then(|held| held.record.value.as_ref());
        server.budget.used_key(key, value.map_or(0, String::len));
    } else {
        server.budget.reads_in_bulk();
    }
    Ok(held)
}

/// The same of a key that is one of many, or that somebody without a session asks for.
pub(crate) async fn skim<S: Store>(
    server: &AtServer<S>,
    taker: Taker,
    key: &str,
) -> Result<Option<Held>, AtError> {
    let mut lease: Option<Lease> = None;
    let mut most = SMALL;
    loop {
        match server.store.get_up_to(key, most).await? {
            None => return Ok(None),
            Some(Fetched::Record(record)) => {
                if let Some(lease) = &mut lease {
                    lease.fill(most);
                }
                return Ok(Some(Held { record, lease }));
            }
            // It may have grown since it was looked at.
            Some(Fetched::Larger { bytes, .. }) => {
                let mut room = server.budget.lease(taker);
                if !room.grow_within(bytes.saturating_mul(COPIES), crate::session::PATIENCE).await {
                    return Err(too_large(server, bytes));
                }
                (lease, most) = (Some(room), bytes);
            }
        }
    }
}

fn too_large<S>(server: &AtServer<S>, bytes: u64) -> AtError {
    let limit = server.budget.limit();
    let text = format!(
        "the value has {bytes} bytes, for which there is no room in the {limit} bytes of memory of this server; try again \
         later"
    );
    AtError::new(ErrorCode::BufferOverflow, text).and_stay()
}
