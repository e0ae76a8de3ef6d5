//! Notifications in the store: what was received, what is to be sent, and to whom when (reference page section 3.6).
//!
//! They stand in the same file as the keys and change in the same transactions, so an update and what tells of it are
//! there together or not at all.

use atsign_protocol::verb::{MessageType, NotifyOperation, Priority, Strategy};
use atsign_protocol::{Metadata, Millis};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::database::{Database, DatabaseError};
use super::queue::Weight;
use super::{Change, Fetched, NotificationCounts, SqliteStore, StoreError, notification_counts};

/// The tables. `outbox` has a row for each recipient that something waits for.
pub(super) const CREATE: &str = "
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
";

/// Notifications of one sender that are kept: no stranger may fill the store.
const PER_SENDER: i64 = 1000;

/// How long an expired one is kept, so that its sender can be told that it has expired.
const KEPT_EXPIRED: Millis = 5 * 60 * 1000;

/// Expired ones that are deleted in one transaction.
const EXPIRED_AT_ONCE: u32 = 64;

/// The longest value that travels with a notification of an update; of a longer one the recipient is only told.
const LONGEST_VALUE: u64 = 256 * 1024;

const COLUMNS: &str =
    "seq, id, kind, sender, recipient, at, expires_at, status, notifier, key, details, value";

/// Which way a notification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To us.
    Received = 0,
    /// To another atSign.
    Sent = 1,
}

/// How far a notification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits to be sent.
    Queued = 0,
    /// It has arrived.
    Delivered = 1,
    /// It never will.
    Errored = 2,
    /// It was not delivered in time, or a later one takes its place.
    Expired = 3,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Its place among all; 0 until it is stored.
    pub seq: i64,
    /// Its name; unique for its sender.
    pub id: String,
    /// Which way it goes.
    pub kind: Kind,
    /// Who tells it.
    pub sender: String,
    /// Whom it is told.
    pub recipient: String,
    /// When it was told, or received.
    pub at: Millis,
    /// Until when it is worth delivering.
    pub expires_at: Millis,
    /// How far it has come.
    pub status: Status,
    /// The application that tells it.
    pub notifier: String,
    /// The key or the text, with who it is for in front.
    pub key: String,
    /// What nothing is looked for by.
    pub details: Details,
    /// The value.
    pub value: Option<String>,
}

/// What is known of a notification beside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// What was done.
    pub operation: NotifyOperation,
    /// What it carries.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Which of several matter.
    pub strategy: Strategy,
    /// How many of them.
    pub depth: u32,
    /// How long it is worth delivering, milliseconds.
    pub ttln: i64,
    /// The metadata of the value.
    pub metadata: Metadata,
}

/// A notification to store, with the change that belongs to it.
#[derive(Clone, Debug)]
pub struct Posting {
    /// The notification.
    pub notification: Notification,
    /// What changes in the same transaction; not done where the notification is known already.
    pub change: Option<Change>,
    /// Whether the notification tells of that change: it takes value and metadata from it.
    pub tells_of_change: bool,
}

/// What became of a [`Posting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The commit id of the change, -1 for none.
    pub commit: i64,
    /// Whether the notification is new.
    pub new: bool,
}

/// Which received notifications to read: the first after `after`.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Its place is higher.
    pub after: i64,
    /// Told later than this.
    pub since: Millis,
    /// Not expired at this time.
    pub now: Millis,
}

/// What became of an attempt to deliver.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It arrived.
    Delivered(i64, String),
    /// It never will.
    Refused(i64),
    /// Nothing for that atSign ever will.
    NoSuchRecipient(String),
    /// Not now: at the time, and after that with the pause, milliseconds.
    Later(String, Millis, i64),
    /// The server starts: whatever waits is due at once.
    Started,
}

/// How far the store has come; changes wake who waits for news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last commit id.
    pub commit: i64,
    /// Whether that was a deletion.
    pub deleted: bool,
    /// Notifications stored since the start.
    pub posted: u64,
}

/// The notifications of one atSign.
pub trait Notifications {
    /// Stores a notification, and does what belongs to it.
    fn post(&self, posting: Posting, now: Millis) -> impl Future<Output = Result<Posted, StoreError>> + Send;
    /// The one of that id; of several senders' our own.
    fn notification(
        &self,
        id: String,
    ) -> impl Future<Output = Result<Option<Notification>, StoreError>> + Send;
    /// The first received one that is looked for.
    fn next_received(
        &self,
        search: Search,
    ) -> impl Future<Output = Result<Option<Notification>, StoreError>> + Send;
    /// The place of the last one.
    fn last_notification(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// Forgets those of that id.
    fn remove_notification(&self, id: String) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// How many there are, of which kind and state.
    fn notification_counts(&self) -> impl Future<Output = Result<NotificationCounts, StoreError>> + Send;
    /// Recipients whose turn it is: those that were never missed, or those that were.
    fn due_recipients(
        &self,
        missed: bool,
        most: usize,
        now: Millis,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
    /// When the next recipient's turn is, after `now`.
    fn next_due(&self, now: Millis) -> impl Future<Output = Result<Option<Millis>, StoreError>> + Send;
    /// How long a recipient was put off the last time, milliseconds; 0 for not at all.
    fn pause(&self, recipient: String) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// The next one for a recipient; `None` takes it off the list.
    fn next_to_send(
        &self,
        recipient: String,
        now: Millis,
    ) -> impl Future<Output = Result<Option<Notification>, StoreError>> + Send;
    /// Notes what became of an attempt.
    fn settle(&self, outcome: Outcome) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// How far the store has come, and a way to wait for more.
    fn progress(&self) -> watch::Receiver<Progress>;
}

impl Weight for Posted {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for Option<i64> {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for Option<Notification> {
    fn weight(&self) -> usize {
        self.as_ref().and_then(|notification| notification.value.as_ref()).map_or(0, String::len)
    }
}

impl Notifications for SqliteStore {
    async fn post(&self, posting: Posting, now: Millis) -> Result<Posted, StoreError> {
        let brought = posting.notification.value.as_ref().map_or(0, String::len);
        self.ask(true, brought, move |database| database.post(&posting, now)).await
    }

    async fn notification(&self, id: String) -> Result<Option<Notification>, StoreError> {
        self.ask(false, 0, move |database| database.notification(&id)).await
    }

    async fn next_received(&self, search: Search) -> Result<Option<Notification>, StoreError> {
        self.ask(false, 0, move |database| database.next_received(search)).await
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
        self.ask(false, 0, |database| notification_counts::count(&database.connection)).await
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

    async fn next_to_send(&self, recipient: String, now: Millis) -> Result<Option<Notification>, StoreError> {
        self.ask(true, 0, move |database| database.next_to_send(&recipient, now)).await
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
        if notification.kind == Kind::Received
            && self.find("id = ?1 AND sender = ?2", params![notification.id, notification.sender])?.is_some()
        {
            return Ok(Posted { commit: -1, new: false });
        }
        let mut commit = -1;
        if let Some(change) = &posting.change {
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
        self.insert(&notification)?;
        self.posted += 1;
        Ok(Posted { commit, new: true })
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
        if new.kind == Kind::Received {
            connection
                .prepare_cached(
                    "DELETE FROM notifications WHERE sender = ?1 AND kind = 0 AND seq <= (
                        SELECT seq FROM notifications WHERE sender = ?1 AND kind = 0
                        ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params![new.sender, PER_SENDER])?;
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

    fn notification(&self, id: &str) -> Result<Option<Notification>, DatabaseError> {
        self.find("id = ?1 ORDER BY kind DESC LIMIT 1", [id])
    }

    fn next_received(&self, search: Search) -> Result<Option<Notification>, DatabaseError> {
        self.find(
            "seq > ?1 AND kind = 0 AND at > ?2 AND expires_at > ?3 ORDER BY seq LIMIT 1",
            params![search.after, search.since, search.now],
        )
    }

    fn next_to_send(&mut self, recipient: &str, now: Millis) -> Result<Option<Notification>, DatabaseError> {
        self.connection
            .prepare_cached(
                "UPDATE notifications SET status = 3 WHERE recipient = ?1 AND status = 0 AND expires_at <= ?2",
            )?
            .execute(params![recipient, now])?;
        let next = self.find("recipient = ?1 AND status = 0 ORDER BY seq LIMIT 1", [recipient])?;
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
            Outcome::Later(recipient, due, delay) => {
                connection
                    .prepare_cached("UPDATE outbox SET due = ?2, delay = ?3 WHERE recipient = ?1")?
                    .execute(params![recipient, due, delay])?;
            }
            Outcome::Started => {
                connection.execute("UPDATE outbox SET due = 0, delay = 0", [])?;
            }
        }
        Ok(())
    }

    /// When the next notification may be deleted.
    pub(super) fn next_notification_expiry(&self) -> Result<Option<Millis>, DatabaseError> {
        let mut statement = self.connection.prepare_cached("SELECT min(expires_at) FROM notifications")?;
        let first: Option<Millis> = statement.query_row([], |row| row.get(0))?;
        Ok(first.map(|first| first.saturating_add(KEPT_EXPIRED)))
    }

    /// Deletes notifications that expired some time ago, a bounded number.
    pub(super) fn expire_notifications(&mut self, now: Millis) -> Result<usize, DatabaseError> {
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
    ) -> Result<Option<Notification>, DatabaseError> {
        let query = format!("SELECT {COLUMNS} FROM notifications WHERE {condition}");
        let mut statement = self.connection.prepare_cached(&query)?;
        let found = statement.query_row(params, |row| Ok((notification(row)?, row.get::<_, String>(10)?)));
        let Some((mut found, details)) = found.optional()? else { return Ok(None) };
        found.details = serde_json::from_str(&details)?;
        Ok(Some(found))
    }
}

fn notification(row: &Row<'_>) -> rusqlite::Result<Notification> {
    Ok(Notification {
        seq: row.get(0)?,
        id: row.get(1)?,
        kind: if row.get::<_, i64>(2)? == Kind::Sent as i64 { Kind::Sent } else { Kind::Received },
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
