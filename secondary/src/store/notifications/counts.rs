//! How many notifications the store holds, by what `stats` tells of them (reference page section 2.15).

use super::{Kind, Status};
use crate::store::database::DatabaseError;
use crate::store::queue::Weight;

/// Counts of the stored notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotificationCounts {
    /// To others.
    pub sent: i64,
    /// To us.
    pub received: i64,
    /// They arrived.
    pub delivered: i64,
    /// They never will.
    pub failed: i64,
    /// They wait to be sent.
    pub queued: i64,
    /// Of keys that have a value.
    pub updates: i64,
    /// Of keys that are gone.
    pub deletes: i64,
    /// They carry a key.
    pub keys: i64,
    /// They carry a text.
    pub texts: i64,
}

impl Weight for NotificationCounts {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

/// Counts them, without reading one as a whole.
pub(super) fn count(connection: &rusqlite::Connection) -> Result<NotificationCounts, DatabaseError> {
    let mut statement = connection.prepare_cached(
        "SELECT kind, status, details ->> 'operation' = 'Delete', details ->> 'message_type' = 'Text', count(*)
         FROM notifications GROUP BY 1, 2, 3, 4",
    )?;
    let mut counts = NotificationCounts::default();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(4)?;
        let (kind, status): (i64, i64) = (row.get(0)?, row.get(1)?);
        *(if kind == Kind::Sent as i64 { &mut counts.sent } else { &mut counts.received }) += number;
        match status {
            status if status == Status::Queued as i64 => counts.queued += number,
            status if status == Status::Delivered as i64 => counts.delivered += number,
            _ => counts.failed += number,
        }
        *(if row.get(2)? { &mut counts.deletes } else { &mut counts.updates }) += number;
        *(if row.get(3)? { &mut counts.texts } else { &mut counts.keys }) += number;
    }
    Ok(counts)
}
