//! The open store: each change and question as one function. Nothing here waits or decides when.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atsign_protocol::Metadata;
use atsign_protocol::key::PKAM_PUBLIC_KEY;
use rusqlite::{Connection, OptionalExtension, params};

use super::file::{CHECKPOINT_FRAMES, LOG};
use super::{Change, Exceeded, Fetched, Operation, Page, Quota, Record, wal};

/// Keys deleted in one transaction when they expire.
pub const EXPIRED_AT_ONCE: u32 = 64;

/// Bytes of the log after which nobody may hold it any more.
const LONGEST_HELD: u64 = 64 << 20;

/// Why a change or a question had no answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It is against the rules.
    #[error("{0}")]
    Refused(String),
    /// It would pass a limit of the tier.
    #[error(transparent)]
    OverLimit(#[from] Exceeded),
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What is stored cannot be read.
    #[error("the metadata of a key cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// What is known of the store without asking SQLite. A change that is undone must not leave it changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    /// The next commit id.
    pub(super) next: i64,
    /// Number of keys, once somebody asked.
    pub(super) keys: Option<u64>,
    /// Whether the last entry of the commit log is a deletion.
    pub(super) deleted: bool,
    /// Notifications stored since it was opened.
    pub(super) posted: u64,
    /// Whether the atSign was onboarded: its PKAM public key is there.
    pub(super) activated: bool,
}

/// An open store.
#[derive(Debug)]
pub struct Database {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// What is known of it.
    pub(super) counts: Counts,
    /// What was known when the transaction began.
    pub(super) at_begin: Counts,
    /// Who needs the store's file to stay as it is, so that the log only grows; 0 for nobody.
    pub(super) held: u64,
    /// What the tier allows.
    pub(super) quota: Arc<Quota>,
}

impl Database {
    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The commit id that the next change gets.
    pub fn next_commit_id(&self) -> i64 {
        self.counts.next
    }

    /// Whether a transaction is open. SQLite ends one by itself after some errors.
    pub fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Begins the transaction of a group.
    pub fn begin(&mut self) -> Result<(), rusqlite::Error> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.at_begin = self.counts;
        Ok(())
    }

    /// Ends it. On disk when it returns.
    pub fn commit(&mut self) -> Result<(), rusqlite::Error> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Undoes it.
    pub fn rollback(&mut self) {
        self.counts = self.at_begin;
        if self.in_transaction() {
            // Where even this fails the connection is given up by whoever saw the first error.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Does one change of a group, whole or not at all, without touching its neighbours.
    pub fn alone<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let before = self.counts;
        self.connection.prepare_cached("SAVEPOINT one")?.execute([])?;
        let done = work(self);
        if done.is_err() && self.in_transaction() {
            self.counts = before;
            self.connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
        }
        if self.in_transaction() {
            self.connection.prepare_cached("RELEASE one")?.execute([])?;
        }
        done
    }

    /// Applies a change and returns its commit id, -1 where there is none.
    pub fn apply(&mut self, change: &Change, now: i64) -> Result<i64, DatabaseError> {
        match change {
            Change::Put { key, value, metadata, operation, committed, by, rationed } => {
                let stored = self.metadata(key)?;
                if *rationed {
                    self.check_put(key, value.as_deref(), stored.is_none())?;
                }
                let existing = stored.as_ref().filter(|metadata| !metadata.is_expired(now));
                let metadata = metadata
                    .apply(existing, by, now)
                    .map_err(|refusal| DatabaseError::Refused(refusal.to_string()))?;
                self.write(key, value.as_deref(), existing.is_some() && value.is_none(), &metadata)?;
                self.counts.activated |= key == PKAM_PUBLIC_KEY;
                if stored.is_none() {
                    self.counts.keys = self.counts.keys.map(|keys| keys + 1);
                }
                self.log(key, *operation, *committed)
            }
            Change::Delete { key, committed } => {
                if self.remove(key)? == 0 && *committed {
                    self.check_delete(key)?;
                }
                self.log(key, Operation::Delete, *committed)
            }
        }
    }

    fn write(
        &self,
        key: &str,
        value: Option<&str>,
        keep: bool,
        metadata: &Metadata,
    ) -> Result<(), DatabaseError> {
        let json = serde_json::to_string(metadata)?;
        let (available, expires) = (metadata.available_at, metadata.expires_at);
        if keep {
            self.connection
                .prepare_cached(
                    "UPDATE keys SET available_at = ?2, expires_at = ?3, metadata = ?4 WHERE key = ?1",
                )?
                .execute(params![key, available, expires, json])?;
        } else {
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO keys (key, available_at, expires_at, metadata, value)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![key, available, expires, json, value])?;
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<usize, DatabaseError> {
        let removed = self.connection.prepare_cached("DELETE FROM keys WHERE key = ?1")?.execute([key])?;
        self.counts.keys = self.counts.keys.map(|keys| keys.saturating_sub(removed as u64));
        self.counts.activated &= key != PKAM_PUBLIC_KEY;
        Ok(removed)
    }

    fn log(&mut self, key: &str, operation: Operation, committed: bool) -> Result<i64, DatabaseError> {
        if !committed {
            return Ok(-1);
        }
        let id = self.counts.next;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO commit_log (commit_id, key, operation) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![id, key, sign(operation)])?;
        self.counts.next += 1;
        self.counts.deleted = operation == Operation::Delete;
        Ok(id)
    }

    fn metadata(&self, key: &str) -> Result<Option<Metadata>, DatabaseError> {
        let mut statement = self.connection.prepare_cached("SELECT metadata FROM keys WHERE key = ?1")?;
        let json: Option<String> = statement.query_row([key], |row| row.get(0)).optional()?;
        json.map(|json| serde_json::from_str(&json).map_err(DatabaseError::from)).transpose()
    }

    /// Reads one key, whether active or not.
    pub fn get(&self, key: &str) -> Result<Option<Record>, DatabaseError> {
        let mut statement =
            self.connection.prepare_cached("SELECT value, metadata FROM keys WHERE key = ?1")?;
        let found: Option<(Option<String>, String)> =
            statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((value, metadata)) = found else { return Ok(None) };
        Ok(Some(Record { value, metadata: serde_json::from_str(&metadata)? }))
    }

    /// Reads one key unless its value is longer. The length stands in the row's head, so that a long value is not read.
    pub fn get_up_to(&self, key: &str, most: u64) -> Result<Option<Fetched>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT coalesce(octet_length(value), 0), CASE WHEN octet_length(value) <= ?2 THEN value END, metadata
             FROM keys WHERE key = ?1",
        )?;
        let most_bytes = i64::try_from(most).unwrap_or(i64::MAX);
        let found: Option<(i64, Option<String>, String)> = statement
            .query_row(params![key, most_bytes], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((length, value, metadata)) = found else { return Ok(None) };
        let metadata = serde_json::from_str(&metadata)?;
        Ok(Some(if length > most_bytes {
            Fetched::Larger { bytes: length.unsigned_abs(), metadata }
        } else {
            Fetched::Record(Record { value, metadata })
        }))
    }

    /// One page of the names that are active at `now`.
    pub fn scan(&self, page: &Page, now: i64) -> Result<Vec<String>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key FROM keys
             WHERE key > ?1 AND key >= ?2 AND key < ?3
               AND (available_at IS NULL OR available_at <= ?4) AND (expires_at IS NULL OR expires_at > ?4)
             ORDER BY key LIMIT ?5",
        )?;
        let after = page.after.as_deref().unwrap_or("");
        let end = format!("{}{}", page.prefix, char::MAX);
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, page.prefix, end, now, limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The id of the last entry in the commit log whose key matches; -1 for none.
    pub fn last_commit(&self, matches: Option<&str>) -> Result<i64, DatabaseError> {
        let Some(pattern) = matches else {
            // Not the one before the next: after a restore the next one is higher than by one.
            let last = "SELECT coalesce(max(commit_id), -1) FROM commit_log";
            return Ok(self.connection.prepare_cached(last)?.query_row([], |row| row.get(0))?);
        };
        let pattern = regex_lite::Regex::new(pattern)
            .map_err(|error| DatabaseError::Refused(format!("invalid regular expression: {error}")))?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT commit_id, key FROM commit_log ORDER BY commit_id DESC")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if pattern.is_match(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?) {
                return Ok(row.get(0)?);
            }
        }
        Ok(-1)
    }

    /// Number of keys, and bytes of the pages that hold something.
    pub fn size(&mut self) -> Result<(u64, u64), DatabaseError> {
        Ok((self.key_count()?, self.live_bytes()?))
    }

    /// Number of keys.
    pub(super) fn key_count(&mut self) -> Result<u64, DatabaseError> {
        if let Some(keys) = self.counts.keys {
            return Ok(keys);
        }
        let count: i64 = self.connection.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?;
        let keys = count.unsigned_abs();
        self.counts.keys = Some(keys);
        Ok(keys)
    }

    /// Bytes of the pages that hold something: what is deleted leaves free ones behind, which are written next. The log
    /// beside them does not count: it grows while nobody stores anything, and shrinks again.
    pub(super) fn live_bytes(&self) -> Result<u64, DatabaseError> {
        let live = "SELECT (page_count - freelist_count) * page_size
                    FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let live: i64 = self.connection.prepare_cached(live)?.query_row([], |row| row.get(0))?;
        Ok(live.unsigned_abs())
    }

    /// When the next key or notification is to be deleted, Unix milliseconds.
    pub fn next_expiry(&self) -> Result<Option<i64>, DatabaseError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT min(expires_at) FROM keys WHERE expires_at IS NOT NULL")?;
        let key: Option<i64> = statement.query_row([], |row| row.get(0))?;
        let notification = self.next_notification_expiry()?;
        Ok(key.into_iter().chain(notification).min())
    }

    /// Deletes keys that have expired at `now`, [`EXPIRED_AT_ONCE`] at most; those that are in the commit log get an
    /// entry there. Returns their names, and how many notifications went with them.
    pub fn expire(&mut self, now: i64) -> Result<(Vec<String>, usize), DatabaseError> {
        let due: Vec<(String, bool)> = self
            .connection
            .prepare_cached(
                "SELECT key, EXISTS (SELECT 1 FROM commit_log WHERE commit_log.key = keys.key)
                 FROM keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
            )?
            .query_map(params![now, EXPIRED_AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (key, committed) in &due {
            self.remove(key)?;
            self.log(key, Operation::Delete, *committed)?;
        }
        let notifications = self.expire_notifications(now)?;
        Ok((due.into_iter().map(|(key, _)| key).collect(), notifications))
    }

    /// Writes the whole log back. After a failed fsync the kernel may call pages clean that never reached the disk;
    /// writing them anew is the only way to know.
    pub fn write_back(&mut self) -> Result<(), DatabaseError> {
        self.let_log_go()?;
        Ok(self.empty_log()?)
    }

    pub(super) fn empty_log(&self) -> Result<(), rusqlite::Error> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// From now on the store's file stays as it is and changes go to the log alone, until [`Self::let_log_go`] or
    /// until the log has become too long.
    pub fn hold_log(&mut self, by: u64) -> Result<(), DatabaseError> {
        self.connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        self.held = by;
        Ok(())
    }

    /// Changes may go to the store's file again.
    pub fn let_log_go(&mut self) -> Result<(), DatabaseError> {
        if self.held != 0 {
            self.held = 0;
            self.connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_FRAMES)?;
        }
        Ok(())
    }

    /// Bytes of the log up to the last transaction. Not within one.
    pub fn log_length(&self) -> Result<u64, DatabaseError> {
        let frames: i64 = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
        Ok(u64::try_from(frames).ok().filter(|frames| *frames > 0).map_or(0, wal::length))
    }

    /// Whether somebody holds the log who may not hold it longer.
    pub(super) fn log_is_too_long(&self) -> bool {
        self.held != 0
            && fs::metadata(self.path.with_file_name(LOG)).is_ok_and(|log| log.len() > LONGEST_HELD)
    }

    /// Writes something that changes nothing, to see whether the volume takes it again.
    pub fn probe(&mut self) -> Result<(), DatabaseError> {
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('probe', '')", [])?;
        Ok(())
    }
}

/// How the commit log writes an operation.
pub(crate) fn sign(operation: Operation) -> &'static str {
    match operation {
        Operation::Update => "+",
        Operation::UpdateMeta => "#",
        Operation::UpdateAll => "*",
        Operation::Delete => "-",
    }
}
