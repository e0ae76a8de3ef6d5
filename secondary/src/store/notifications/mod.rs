//! Notifications in the store: what was received, what is to be sent, and to whom when (reference page section 3.6).

mod counts;
mod sqlite;

use atsign_protocol::verb::{MessageType, NotifyOperation, Priority, Strategy};
use atsign_protocol::{Metadata, Millis};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::queue::Weight;
use super::{Change, StoreError};

pub use counts::NotificationCounts;
pub(super) use sqlite::CREATE;

/// Which way a notification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To us.
    Received = 0,
    /// To another atSign.
    Sent = 1,
    /// From the server to those of its own clients that ask for it.
    Own = 2,
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
    /// How often its delivery failed.
    pub tries: u32,
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
    /// Whether the limits of the tier hold for it. What tells of a deletion is never refused.
    pub rationed: bool,
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
    /// Also those of the server to its own clients.
    pub own: bool,
}

/// Which notification to read.
#[derive(Clone, Debug)]
pub enum Which {
    /// The one of that id; of several senders' our own.
    Named(String),
    /// The first received one that is looked for.
    Received(Search),
    /// The next one for a recipient. Where there is none, the recipient is taken off the list.
    ToSend {
        /// For whom.
        recipient: String,
        /// Those that are not worth delivering any more at this time are put aside.
        now: Millis,
    },
}

/// A notification that was read with a bound for what it holds.
#[derive(Clone, Debug)]
pub enum Found {
    /// All of it.
    Notification(Box<Notification>),
    /// Its key and value have so many bytes, more than were asked for, which were not read.
    Larger(u64),
}

impl Found {
    /// The notification, where it was read.
    pub fn notification(self) -> Option<Notification> {
        match self {
            Self::Notification(notification) => Some(*notification),
            Self::Larger(_) => None,
        }
    }
}

/// What became of an attempt to deliver.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It arrived.
    Delivered(i64, String),
    /// It never will: refused, or tried as often as it may be.
    Refused(i64),
    /// Nothing for that atSign ever will.
    NoSuchRecipient(String),
    /// Not now.
    Later {
        /// Which was tried.
        seq: i64,
        /// Whom it is for.
        recipient: String,
        /// When its recipient's turn is again.
        due: Millis,
        /// How long that is from now, milliseconds.
        pause: i64,
    },
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
    /// One notification, if its key and value have no more bytes than `most`.
    fn notification(
        &self,
        which: Which,
        most: u64,
    ) -> impl Future<Output = Result<Option<Found>, StoreError>> + Send;
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

impl Weight for Option<Found> {
    fn weight(&self) -> usize {
        match self {
            Some(Found::Notification(notification)) => notification.value.as_ref().map_or(0, String::len),
            Some(Found::Larger(_)) | None => 0,
        }
    }
}
