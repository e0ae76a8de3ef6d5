//! What the tier allows to be stored and told. Only growth is refused: what makes the store smaller, and what is read,
//! goes on however much is there, so that a store that is too large for its tier can be made to fit.

use std::sync::atomic::{AtomicU64, Ordering};

use atsign_protocol::Millis;
use rusqlite::OptionalExtension as _;

use super::StoreError;
use super::database::{Database, DatabaseError};
use super::sqlite::SqliteStore;
use crate::limits::Limits;

/// Where the notifications that were sent on a day are counted in the table `meta`: `<day since 1970> <count>`. It is
/// written together with each of them, so that no restart gives a day twice.
const SENT: &str = "sent";

const DAY: Millis = 24 * 60 * 60 * 1000;

/// What a row takes beside its texts: the metadata, the entry in the commit log, the indexes.
const BESIDE: u64 = 256;

/// No limit.
const NONE: u64 = u64::MAX;

/// A limit that a change would have passed. Each text names it, says what it is, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The value is too long.
    #[error(
        "the value has {bytes} bytes and the limit valueBytes is {limit}; store less under one key, or choose a larger tier"
    )]
    ValueBytes {
        /// What it has.
        bytes: u64,
        /// What it may have.
        limit: u64,
    },
    /// There are too many keys.
    #[error("{keys} keys are stored and the limit keys is {limit}; delete some, or choose a larger tier")]
    Keys {
        /// How many there are.
        keys: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The store is too large.
    #[error(
        "{used} bytes are stored, {growth} more are needed, and the limit storageBytes is {limit}; delete keys, or choose a larger tier"
    )]
    StorageBytes {
        /// What is stored.
        used: u64,
        /// What would come to it.
        growth: u64,
        /// What may be stored.
        limit: u64,
    },
    /// Too much was told today.
    #[error(
        "{sent} notifications were sent today and the limit notificationsPerDay is {limit}; wait until midnight UTC, or choose a larger tier"
    )]
    NotificationsPerDay {
        /// How many were.
        sent: u64,
        /// How many may be.
        limit: u64,
    },
}

/// The limits in force. They change while the store's thread works.
#[derive(Debug)]
pub struct Quota {
    keys: AtomicU64,
    value_bytes: AtomicU64,
    storage_bytes: AtomicU64,
    notifications_per_day: AtomicU64,
}

impl Default for Quota {
    fn default() -> Self {
        let none = || AtomicU64::new(NONE);
        Self { keys: none(), value_bytes: none(), storage_bytes: none(), notifications_per_day: none() }
    }
}

impl Quota {
    fn set(&self, limits: &Limits) {
        let pairs = [
            (&self.keys, limits.keys),
            (&self.value_bytes, limits.value_bytes),
            (&self.storage_bytes, limits.storage_bytes),
            (&self.notifications_per_day, limits.notifications_per_day),
        ];
        for (limit, given) in pairs {
            limit.store(given.unwrap_or(NONE), Ordering::Relaxed);
        }
    }
}

/// The limit, where there is one.
fn limit(of: &AtomicU64) -> Option<u64> {
    Some(of.load(Ordering::Relaxed)).filter(|limit| *limit != NONE)
}

impl SqliteStore {
    /// Sets what holds from the next change on.
    pub fn set_quota(&self, limits: &Limits) {
        self.shared.quota.set(limits);
    }

    /// Notifications that were sent on the day of `now`.
    pub(crate) async fn sent_today(&self, now: Millis) -> Result<u64, StoreError> {
        self.ask(false, 0, move |database| database.sent_on(now.div_euclid(DAY))).await
    }
}

impl Database {
    /// Refuses a value that would make more of the store than is allowed. `is_new`: nothing is stored by this key.
    pub(super) fn check_put(
        &mut self,
        key: &str,
        value: Option<&str>,
        is_new: bool,
    ) -> Result<(), DatabaseError> {
        if let Some(limit) = limit(&self.quota.keys)
            && is_new
        {
            let keys = self.key_count()?;
            if keys >= limit {
                return Err(Exceeded::Keys { keys, limit }.into());
            }
        }
        let limited = limit(&self.quota.value_bytes).or(limit(&self.quota.storage_bytes)).is_some();
        if !limited || (value.is_none() && !is_new) {
            return Ok(());
        }
        let bytes = value.map_or(0, str::len) as u64;
        let before = if is_new { 0 } else { self.value_length(key)? };
        if bytes <= before && !is_new {
            return Ok(());
        }
        if let Some(limit) = limit(&self.quota.value_bytes)
            && bytes > limit
        {
            return Err(Exceeded::ValueBytes { bytes, limit }.into());
        }
        let beside = if is_new { row(key) } else { 0 };
        self.check_growth((bytes - before).saturating_add(beside))
    }

    /// Refuses the entry that the deletion of a key leaves that was never there: whoever is over his limit could go on
    /// for ever with that.
    pub(super) fn check_delete(&self, key: &str) -> Result<(), DatabaseError> {
        let known = "SELECT 1 FROM commit_log WHERE key = ?1";
        let known = self.connection.prepare_cached(known)?.exists([key])?;
        if known { Ok(()) } else { self.check_growth(row(key)) }
    }

    /// Refuses to take up a notification with so many bytes.
    pub(super) fn check_notification(&self, bytes: u64) -> Result<(), DatabaseError> {
        self.check_growth(bytes.saturating_add(BESIDE))
    }

    /// Refuses what makes the store larger than is allowed.
    fn check_growth(&self, growth: u64) -> Result<(), DatabaseError> {
        let Some(limit) = limit(&self.quota.storage_bytes) else { return Ok(()) };
        let used = self.live_bytes()?;
        if used.saturating_add(growth) > limit {
            return Err(Exceeded::StorageBytes { used, growth, limit }.into());
        }
        Ok(())
    }

    /// Counts a notification that is sent, and refuses one too many. `always`: it is counted and never refused.
    pub(super) fn count_sent(&self, now: Millis, always: bool) -> Result<(), DatabaseError> {
        let day = now.div_euclid(DAY);
        let sent = self.sent_on(day)?;
        if let Some(limit) = limit(&self.quota.notifications_per_day)
            && sent >= limit
            && !always
        {
            return Err(Exceeded::NotificationsPerDay { sent, limit }.into());
        }
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
            .execute([SENT, &format!("{day} {}", sent + 1)])?;
        Ok(())
    }

    fn sent_on(&self, day: i64) -> Result<u64, DatabaseError> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
        let kept: Option<String> = statement.query_row([SENT], |row| row.get(0)).optional()?;
        let counted = kept.as_deref().and_then(|kept| kept.split_once(' '));
        Ok(match counted {
            Some((of, count)) if of.parse() == Ok(day) => count.parse().unwrap_or_default(),
            _ => 0,
        })
    }

    fn value_length(&self, key: &str) -> Result<u64, DatabaseError> {
        let length = "SELECT coalesce(octet_length(value), 0) FROM keys WHERE key = ?1";
        let length: Option<i64> =
            self.connection.prepare_cached(length)?.query_row([key], |row| row.get(0)).optional()?;
        Ok(length.unwrap_or_default().unsigned_abs())
    }
}

/// What a row of `keys` and its entry in the commit log take beside the value.
fn row(key: &str) -> u64 {
    (2 * key.len() as u64).saturating_add(BESIDE)
}
