//! The check of a store that is in use: every row is read and held against its indexes, a few at a time, so that
//! nobody waits for it. What it cannot see (lost pages, the inside of large values) a backup's check does.

use std::time::{Duration, Instant};

use atsign_protocol::Metadata;
use rusqlite::{Row, params};

use super::database::{Database, DatabaseError};
use super::notifications::Details;

/// Rows of one step at most, and how long it may take.
const ROWS: u32 = 64;
const STEP: Duration = Duration::from_millis(2);

/// A longer value is not read.
const LARGE: u32 = 64 * 1024;

/// How far the check has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The keys behind this one.
    Keys(String),
    /// The entries of the commit log behind this one.
    Commits(i64),
    /// The notifications behind this one.
    Notifications(i64),
    /// All was seen.
    Done,
}

impl Default for Walk {
    fn default() -> Self {
        Self::Keys(String::new())
    }
}

/// Why the check ends.
#[derive(Debug)]
pub(super) enum Found {
    /// A row is not what it must be.
    Damage(String),
    /// It could not be read.
    Error(DatabaseError),
}

impl From<rusqlite::Error> for Found {
    fn from(error: rusqlite::Error) -> Self {
        // Not SQLite's own: what it read is of another type, or no text.
        if error.sqlite_error_code().is_none() {
            return Self::Damage(error.to_string());
        }
        Self::Error(error.into())
    }
}

impl Database {
    /// Checks the next few rows.
    pub(super) fn walk(&self, walk: &Walk) -> Result<Walk, Found> {
        let next = match walk {
            Walk::Keys(after) => self.walk_keys(after)?.map_or(Walk::Commits(i64::MIN), Walk::Keys),
            Walk::Commits(after) => {
                self.walk_commits(*after)?.map_or(Walk::Notifications(i64::MIN), Walk::Commits)
            }
            Walk::Notifications(after) => {
                self.walk_notifications(*after)?.map_or(Walk::Done, Walk::Notifications)
            }
            Walk::Done => Walk::Done,
        };
        Ok(next)
    }

    fn walk_keys(&self, after: &str) -> Result<Option<String>, Found> {
        let mut statement = self.connection.prepare(
            "SELECT key, metadata, available_at, expires_at,
                    CASE WHEN octet_length(value) <= ?2 THEN value END,
                    expires_at IS NULL OR EXISTS (
                        SELECT 1 FROM keys AS listed INDEXED BY keys_that_expire
                        WHERE listed.expires_at = keys.expires_at AND listed.key = keys.key)
             FROM keys WHERE key > ?1 ORDER BY key LIMIT ?3",
        )?;
        let (mut seen, began) = (0, Instant::now());
        let mut rows = statement.query(params![after, LARGE, ROWS])?;
        let mut last: Option<String> = None;
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            if key.as_str() <= last.as_deref().unwrap_or(after) {
                return Err(Found::Damage(format!("the key {key} is not in its place")));
            }
            let json = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            let metadata: Metadata = serde_json::from_str(json)
                .map_err(|error| Found::Damage(format!("the metadata of {key} cannot be read: {error}")))?;
            let times: (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            if times != (metadata.available_at, metadata.expires_at) {
                return Err(Found::Damage(format!("the times of {key} are not those of its metadata")));
            }
            let _: Option<&str> = row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            in_its_index(row, 5, &key)?;
            last = Some(key);
            seen += 1;
            if is_enough(seen, began) {
                return Ok(last);
            }
        }
        Ok(None)
    }

    fn walk_commits(&self, after: i64) -> Result<Option<i64>, Found> {
        let mut statement = self.connection.prepare(
            "SELECT commit_id, key, operation,
                    commit_id = (SELECT listed.commit_id FROM commit_log AS listed
                        INDEXED BY sqlite_autoindex_commit_log_1 WHERE listed.key = commit_log.key)
             FROM commit_log WHERE commit_id > ?1 ORDER BY commit_id LIMIT ?2",
        )?;
        let (mut seen, began) = (0, Instant::now());
        let mut rows = statement.query(params![after, ROWS])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if id <= last.unwrap_or(after) {
                return Err(Found::Damage(format!("entry {id} of the commit log is not in its place")));
            }
            let sign: String = row.get(2)?;
            if !matches!(sign.as_str(), "+" | "#" | "*" | "-") {
                return Err(Found::Damage(format!("entry {id} of the commit log has no operation")));
            }
            in_its_index(row, 3, &row.get::<_, String>(1)?)?;
            last = Some(id);
            seen += 1;
            if is_enough(seen, began) {
                return Ok(last);
            }
        }
        Ok(None)
    }

    fn walk_notifications(&self, after: i64) -> Result<Option<i64>, Found> {
        let mut statement = self.connection.prepare(
            "SELECT seq, details, CASE WHEN octet_length(value) <= ?2 THEN value END,
                    seq = (SELECT listed.seq FROM notifications AS listed
                        INDEXED BY sqlite_autoindex_notifications_1
                        WHERE listed.id = notifications.id AND listed.sender = notifications.sender)
             FROM notifications WHERE seq > ?1 ORDER BY seq LIMIT ?3",
        )?;
        let (mut seen, began) = (0, Instant::now());
        let mut rows = statement.query(params![after, LARGE, ROWS])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let json = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            serde_json::from_str::<Details>(json)
                .map_err(|error| Found::Damage(format!("notification {seq} cannot be read: {error}")))?;
            let _: Option<&str> = row.get_ref(2)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            in_its_index(row, 3, &format!("notification {seq}"))?;
            seen += 1;
            if is_enough(seen, began) {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }
}

/// Whether a step ends here. One that finds nothing more has come to the end, however much is added there meanwhile.
fn is_enough(seen: u32, began: Instant) -> bool {
    seen == ROWS || began.elapsed() >= STEP
}

fn in_its_index(row: &Row<'_>, column: usize, name: &str) -> Result<(), Found> {
    match row.get::<_, Option<bool>>(column)? {
        Some(true) => Ok(()),
        _ => Err(Found::Damage(format!("{name} is missing in an index"))),
    }
}
