//! Notifications in SQLite: in the same file as the keys, and changed in the same transactions, so an update and what
//! tells of it are there together or not at all.

use atsign_protocol::Millis;
use atsign_protocol::verb::Strategy;
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params};
use tokio::sync::watch;

use super::{
    Details, Found, Kind, Notification, NotificationCounts, Notifications, Outcome, Posted, Posting,
    Progress, Status, Which, counts,
};
use crate::store::database::{Database, DatabaseError};
use crate::store::{Change, Fetched, SqliteStore, StoreError};

/// The tables. `outbox` has a row for each recipient that something waits for.
pub(in crate::store) const CREATE: &str = "
    CREATE TABLE notifications (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        kind INTEGER NOT NULL,
        sender TEXT NOT NULL,
        recipient TEXT NOT NULL,
        at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        status INTEGER NOT NULL,
        notifier TEXT NOT NULL,
        latest INTEGER,
        key TEXT NOT NULL,
        details TEXT NOT NULL,
        value TEXT,
        UNIQUE (id, sender)
    );
    CREATE INDEX notifications_to_send ON notifications (recipient, seq) WHERE status = 0;
    CREATE INDEX notifications_by_sender ON notifications (sender, seq);
    CREATE INDEX notifications_that_expire ON notifications (expires_at);
    CREATE TABLE outbox (
        recipient TEXT PRIMARY KEY,
        due INTEGER NOT NULL,
        delay INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX outbox_by_due ON outbox (due);
    CREATE INDEX copies_by_owner ON keys (substr(key, 8 + instr(substr(key, 9), '@')), octet_length(value), key)
        WHERE key >= 'cached:' AND key < 'cached;';
";

/// Notifications of one sender that are kept: no stranger may fill the store.
const PER_SENDER: i64 = 1000;

/// Copies of one atSign's data that it may have us keep by its notifications, and the bytes of their values. What our
/// clients look up counts too, but is never refused.
const COPIES: i64 = 10_000;
const COPIED_BYTES: i64 = 16 << 20;

/// How long an expired one is kept, so that its sender can be told that it has expired.
const KEPT_EXPIRED: Millis = 5 * 60 * 1000;

/// Expired ones that are deleted in one transaction.
const EXPIRED_AT_ONCE: u32 = 64;

/// The longest value that travels with a notification of an update; of a longer one the recipient is only told.
const LONGEST_VALUE: u64 = 256 * 1024;

const COLUMNS: &str =
    "seq, id, kind, sender, recipient, at, expires_at, status, notifier, key, details, value";

impl Notifications for SqliteStore {
    async fn post(&self, posting: Posting, now: Millis) -> Result<Posted, StoreError> {
        let brought = posting.notification.value.as_ref().map_or(0, String::len);
        if let Some(Change::Delete { key, .. }) = &posting.change {
            self.shared.gone.forget(key);
        }
        self.ask(true, brought, move |database| database.post(&posting, now)).await
    }

    async fn notification(&self, which: Which, most: u64) -> Result<Option<Found>, StoreError> {
        let writes = matches!(which, Which::ToSend { .. });
        self.ask(writes, 0, move |database| database.notification(&which, most)).await
    }

    async fn last_notification(&self) -> Result<i64, StoreError> {
        self.ask(false, 0, |database| {
            let last = "SELECT coalesce(max(seq), 0) FROM notifications";
            Ok(database.connection.query_row(last, [], |row| row.get(0))?)
        })
        .await
    }

    async fn remove_notification(&self, id: String) -> Result<(), StoreError> {
        self.ask(true, 0, move |database| {
            database.connection.prepare_cached("DELETE FROM notifications WHERE id = ?1")?.execute([&id])?;
            Ok(())
        })
        .await
    }

    async fn notification_counts(&self) -> Result<NotificationCounts, StoreError> {
        self.ask(false, 0, |database| counts::count(&database.connection)).await
    }

    async fn due_recipients(
        &self,
        missed: bool,
        most: usize,
        now: Millis,
    ) -> Result<Vec<String>, StoreError> {
        self.ask(false, 0, move |database| {
            let mut statement = database.connection.prepare_cached(
                "SELECT recipient FROM outbox WHERE due <= ?1 AND (delay > 0) = ?2 ORDER BY due LIMIT ?3",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![now, missed, most], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn next_due(&self, now: Millis) -> Result<Option<Millis>, StoreError> {
        self.ask(false, 0, move |database| {
            let mut statement =
                database.connection.prepare_cached("SELECT min(due) FROM outbox WHERE due > ?1")?;
            Ok(statement.query_row([now], |row| row.get(0))?)
        })
        .await
    }

    async fn pause(&self, recipient: String) -> Result<i64, StoreError> {
        self.ask(false, 0, move |database| {
            let mut statement =
                database.connection.prepare_cached("SELECT delay FROM outbox WHERE recipient = ?1")?;
            Ok(statement.query_row([&recipient], |row| row.get(0)).optional()?.unwrap_or(0))
        })
        .await
    }

    async fn settle(&self, outcome: Outcome) -> Result<(), StoreError> {
        self.ask(true, 0, move |database| database.settle(&outcome)).await
    }

    fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }
}

impl Database {
    fn post(&mut self, posting: &Posting, now: Millis) -> Result<Posted, DatabaseError> {
        let mut notification = posting.notification.clone();
        if notification.kind == Kind::Received && self.is_known(&notification)? {
            return Ok(Posted { commit: -1, new: false });
        }
        let mut commit = -1;
        if let Some(change) = &posting.change
            && self.has_room_for(change, &notification)?
            && self.keeps_copy(change, &notification)?
        {
            commit = self.apply(change, now)?;
            if let (true, Change::Put { key, .. }) = (posting.tells_of_change, change)
                && let Some(stored) = self.get_up_to(key, LONGEST_VALUE)?
            {
                notification.details.metadata = stored.metadata().clone();
                if let Fetched::Record(record) = stored {
                    notification.value = record.value;
                }
            }
        }
        let rationed = posting.rationed && !matches!(posting.change, Some(Change::Delete { .. }));
        if rationed {
            let value = notification.value.as_ref().map_or(0, String::len);
            self.check_notification((notification.key.len() + value) as u64)?;
        }
        if notification.kind == Kind::Sent {
            self.count_sent(now, !rationed)?;
        }
        self.insert(&notification)?;
        self.counts.posted += 1;
        Ok(Posted { commit, new: true })
    }

    /// Whether a copy that another atSign's server tells of keeps to the limits of the tier; where it does not, what is
    /// told is told all the same.
    fn keeps_copy(&mut self, change: &Change, notification: &Notification) -> Result<bool, DatabaseError> {
        let Change::Put { key, value, rationed: true, .. } = change else { return Ok(true) };
        if notification.kind != Kind::Received || notification.sender == notification.recipient {
            return Ok(true);
        }
        let is_new = self.get_up_to(key, 0)?.is_none();
        match self.check_put(key, value.as_deref(), is_new) {
            Err(DatabaseError::OverLimit(_)) => Ok(false),
            checked => checked.map(|()| true),
        }
    }

    /// Whether a copy may be kept that another atSign's server tells of: there is an end to how much of the store one
    /// of them fills.
    fn has_room_for(&self, change: &Change, notification: &Notification) -> Result<bool, DatabaseError> {
        let Change::Put { key, value: Some(value), .. } = change else { return Ok(true) };
        if notification.kind != Kind::Received || notification.sender == notification.recipient {
            return Ok(true);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT count(*), coalesce(sum(octet_length(value)), 0) FROM keys
             WHERE key >= 'cached:' AND key < 'cached;' AND key <> ?2
               AND substr(key, 8 + instr(substr(key, 9), '@')) = ?1",
        )?;
        let (copies, bytes): (i64, i64) =
            statement.query_row(params![notification.sender, key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let size = i64::try_from(value.len()).unwrap_or(i64::MAX);
        Ok(copies < COPIES && bytes.saturating_add(size) <= COPIED_BYTES)
    }

    fn insert(&mut self, new: &Notification) -> Result<(), DatabaseError> {
        let details = serde_json::to_string(&new.details)?;
        let latest = (new.details.strategy == Strategy::Latest).then_some(new.details.depth);
        let connection = &self.connection;
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO notifications
                 (id, kind, sender, recipient, at, expires_at, status, notifier, latest, key, details, value)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                new.id,
                new.kind as i64,
                new.sender,
                new.recipient,
                new.at,
                new.expires_at,
                new.status as i64,
                new.notifier,
                latest,
                new.key,
                details,
                new.value
            ])?;
        if new.kind != Kind::Sent {
            connection
                .prepare_cached(
                    "DELETE FROM notifications WHERE sender = ?1 AND kind = ?2 AND seq <= (
                        SELECT seq FROM notifications WHERE sender = ?1 AND kind = ?2
                        ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
                )?
                .execute(params![new.sender, new.kind as i64, PER_SENDER])?;
        }
        if new.status != Status::Queued {
            return Ok(());
        }
        if let Some(depth) = latest {
            connection
                .prepare_cached(
                    "UPDATE notifications SET status = 3
                     WHERE recipient = ?1 AND status = 0 AND notifier = ?2 AND latest IS NOT NULL AND seq <= (
                        SELECT seq FROM notifications
                        WHERE recipient = ?1 AND status = 0 AND notifier = ?2 AND latest IS NOT NULL
                        ORDER BY seq DESC LIMIT 1 OFFSET ?3)",
                )?
                .execute(params![new.recipient, new.notifier, depth])?;
        }
        connection
            .prepare_cached("INSERT OR IGNORE INTO outbox (recipient, due, delay) VALUES (?1, 0, 0)")?
            .execute([&new.recipient])?;
        Ok(())
    }

    fn is_known(&self, notification: &Notification) -> Result<bool, DatabaseError> {
        let known = "SELECT 1 FROM notifications WHERE id = ?1 AND sender = ?2";
        let mut statement = self.connection.prepare_cached(known)?;
        Ok(statement.exists(params![notification.id, notification.sender])?)
    }

    fn notification(&mut self, which: &Which, most: u64) -> Result<Option<Found>, DatabaseError> {
        match which {
            Which::Named(id) => self.find("id = ?1 ORDER BY kind DESC LIMIT 1", [id], most),
            Which::Received(search) => self.find(
                "seq > ?1 AND (kind = 0 OR (kind = 2 AND ?4)) AND at > ?2 AND expires_at > ?3 ORDER BY seq LIMIT 1",
                params![search.after, search.since, search.now, search.own],
                most,
            ),
            Which::ToSend { recipient, now } => self.next_to_send(recipient, *now, most),
        }
    }

    fn next_to_send(
        &mut self,
        recipient: &str,
        now: Millis,
        most: u64,
    ) -> Result<Option<Found>, DatabaseError> {
        self.connection
            .prepare_cached(
                "UPDATE notifications SET status = 3 WHERE recipient = ?1 AND status = 0 AND expires_at <= ?2",
            )?
            .execute(params![recipient, now])?;
        let next = self.find("recipient = ?1 AND status = 0 ORDER BY seq LIMIT 1", [recipient], most)?;
        if next.is_none() {
            self.connection
                .prepare_cached("DELETE FROM outbox WHERE recipient = ?1")?
                .execute([recipient])?;
        }
        Ok(next)
    }

    fn settle(&mut self, outcome: &Outcome) -> Result<(), DatabaseError> {
        let connection = &self.connection;
        match outcome {
            Outcome::Delivered(seq, recipient) => {
                connection
                    .prepare_cached("UPDATE notifications SET status = 1 WHERE seq = ?1")?
                    .execute([seq])?;
                connection
                    .prepare_cached(
                        "UPDATE outbox SET due = 0, delay = 0 WHERE recipient = ?1 AND delay > 0",
                    )?
                    .execute([recipient])?;
            }
            Outcome::Refused(seq) => {
                connection
                    .prepare_cached("UPDATE notifications SET status = 2 WHERE seq = ?1")?
                    .execute([seq])?;
            }
            Outcome::NoSuchRecipient(recipient) => {
                connection
                    .prepare_cached(
                        "UPDATE notifications SET status = 2 WHERE recipient = ?1 AND status = 0",
                    )?
                    .execute([recipient])?;
                connection.prepare_cached("DELETE FROM outbox WHERE recipient = ?1")?.execute([recipient])?;
            }
            Outcome::Later { seq, recipient, due, pause } => {
                connection
                    .prepare_cached(
                        "UPDATE notifications
                         SET details = json_set(details, '$.tries', coalesce(details ->> 'tries', 0) + 1)
                         WHERE seq = ?1",
                    )?
                    .execute([seq])?;
                connection
                    .prepare_cached("UPDATE outbox SET due = ?2, delay = ?3 WHERE recipient = ?1")?
                    .execute(params![recipient, due, pause])?;
            }
            Outcome::Started => {
                connection.execute("UPDATE outbox SET due = 0, delay = 0", [])?;
            }
        }
        Ok(())
    }

    /// When the next notification may be deleted.
    pub(in crate::store) fn next_notification_expiry(&self) -> Result<Option<Millis>, DatabaseError> {
        let mut statement = self.connection.prepare_cached("SELECT min(expires_at) FROM notifications")?;
        let first: Option<Millis> = statement.query_row([], |row| row.get(0))?;
        Ok(first.map(|first| first.saturating_add(KEPT_EXPIRED)))
    }

    /// Deletes notifications that expired some time ago, a bounded number.
    pub(in crate::store) fn expire_notifications(&mut self, now: Millis) -> Result<usize, DatabaseError> {
        let removed = self
            .connection
            .prepare_cached(
                "DELETE FROM notifications WHERE seq IN (
                    SELECT seq FROM notifications WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            )?
            .execute(params![now - KEPT_EXPIRED, EXPIRED_AT_ONCE])?;
        Ok(removed)
    }

    fn find(
        &self,
        condition: &str,
        params: impl rusqlite::Params,
        most: u64,
    ) -> Result<Option<Found>, DatabaseError> {
        let query = format!("SELECT {COLUMNS} FROM notifications WHERE {condition}");
        let mut statement = self.connection.prepare_cached(&query)?;
        let mut rows = statement.query(params)?;
        let Some(row) = rows.next()? else { return Ok(None) };
        // The lengths are of the row that SQLite holds; nothing is copied yet.
        let bytes = [9, 11].map(|column| row.get_ref(column).map(length));
        let bytes = bytes.into_iter().sum::<Result<u64, _>>()?;
        if bytes > most {
            return Ok(Some(Found::Larger(bytes)));
        }
        let mut found = notification(row)?;
        found.details = serde_json::from_str(&row.get::<_, String>(10)?)?;
        Ok(Some(Found::Notification(Box::new(found))))
    }
}

fn length(text: ValueRef<'_>) -> u64 {
    match text {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() as u64,
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
    }
}

fn notification(row: &Row<'_>) -> rusqlite::Result<Notification> {
    Ok(Notification {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: match row.get(2)? {
            1 => Kind::Sent,
            2 => Kind::Own,
            _ => Kind::Received,
        },
        sender: row.get(3)?,
        recipient: row.get(4)?,
        at: row.get(5)?,
        expires_at: row.get(6)?,
        status: match row.get::<_, i64>(7)? {
            0 => Status::Queued,
            1 => Status::Delivered,
            2 => Status::Errored,
            _ => Status::Expired,
        },
        notifier: row.get(8)?,
        key: row.get(9)?,
        details: Details::default(),
        value: row.get(11)?,
    })
}
