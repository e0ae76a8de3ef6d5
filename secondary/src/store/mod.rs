//! The data of one atSign behind one trait, so that another store (Redis) can stand in for SQLite.

pub(crate) mod caches;
mod counts;
pub mod database;
mod enrollments;
mod failure;
pub mod figures;
pub mod file;
mod gone;
pub mod keeper;
pub mod log;
pub mod notifications;
pub mod queue;
pub mod quota;
pub mod sqlite;
pub mod status;
pub mod visits;
pub mod wal;
mod walk;

pub(crate) use database::sign;
pub use log::{Commit, Log, LogPage, LogStart};
pub use notifications::{NotificationCounts, Notifications};
pub use quota::{Exceeded, Quota};
pub use sqlite::{Config, End, Opening, SqliteStore, open};
pub use status::{State, Status};
pub use visits::{Top, Visit, Visits};

use atsign_protocol::{Metadata, MetadataChange};

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value; `update:meta` on a missing key makes a record without one.
    pub value: Option<String>,
    /// What is known of it.
    pub metadata: Metadata,
}

/// A key that was read with a bound for its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// All of it.
    Record(Record),
    /// Its value has more bytes than were asked for, which were not read.
    Larger {
        /// How many.
        bytes: u64,
        /// What is known of it.
        metadata: Metadata,
    },
}

impl Fetched {
    /// What is known of the value.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Record(Record { metadata, .. }) | Self::Larger { metadata, .. } => metadata,
        }
    }
}

/// What an entry of the commit log says was done (reference page section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `+`: the value.
    Update,
    /// `#`: the metadata.
    UpdateMeta,
    /// `*`: both.
    UpdateAll,
    /// `-`: the key is gone.
    Delete,
}

/// One change of one key. It is applied whole or not at all, together with its entry in the commit log.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every change is the large one")]
pub enum Change {
    /// Stores a value and merges metadata into what is stored.
    Put {
        /// The key as stored: lower case, `public:phone.wavi@alice`.
        key: String,
        /// The new value; `None` keeps the stored one (`update:meta`).
        value: Option<String>,
        /// What to change in the metadata.
        metadata: MetadataChange,
        /// What the commit log says.
        operation: Operation,
        /// Whether the commit log has an entry at all (`privatekey:` and its like do not).
        committed: bool,
        /// Who asks, with its `@`.
        by: String,
        /// Whether the limits of the tier hold for it: for what clients have stored, not for what the server needs.
        rationed: bool,
    },
    /// Removes a key; one that does not exist still gets its entry in the commit log.
    Delete {
        /// The key as stored.
        key: String,
        /// Whether the commit log has an entry.
        committed: bool,
    },
}

impl Change {
    /// The key as stored.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// One page of a scan, in key order.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Keys after this one; `None` from the start.
    pub after: Option<String>,
    /// Only keys with this prefix; empty for all.
    pub prefix: String,
    /// At most so many.
    pub limit: usize,
}

/// Why the store did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is not ours (yet, or any more), or its volume does not answer.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The change is against the rules: an immutable record, for one.
    #[error("{0}")]
    Refused(String),
    /// The change would pass a limit of the tier.
    #[error(transparent)]
    OverLimit(Exceeded),
    /// The volume refused: full, read-only, damaged.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// The store of one atSign. Every method answers only with what is on disk and confirmed to be ours.
pub trait Store: Notifications + Clone + Send + Sync + 'static {
    /// Reads one key, expired or not yet born ones included: who asks decides.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;
    /// The same, where the value has at most so many bytes.
    fn get_up_to(
        &self,
        key: &str,
        most: u64,
    ) -> impl Future<Output = Result<Option<Fetched>, StoreError>> + Send;
    /// The names of one page of keys that are active at `now`.
    fn scan(&self, page: Page, now: i64) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
    /// Applies a change and returns its commit id, -1 where there is none. On disk when it returns.
    fn commit(&self, change: Change, now: i64) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// The last commit id of keys that `matches`; -1 for none.
    fn last_commit(&self, matches: Option<String>) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// One page of the commit log.
    fn commits(&self, page: LogPage) -> impl Future<Output = Result<Vec<Commit>, StoreError>> + Send;
    /// Adds entries to the access log, whose oldest entries make room.
    fn note(&self, visits: Vec<Visit>) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Enrollments that are active at `now`, in the order of their names, after a name.
    fn enrollments(
        &self,
        after: Option<String>,
        limit: usize,
        now: i64,
    ) -> impl Future<Output = Result<Vec<(String, Record)>, StoreError>> + Send;
    /// Number of entries of a log.
    fn entries(&self, log: Log) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// What is told of the access log.
    fn visits(&self, most: Top) -> impl Future<Output = Result<Visits, StoreError>> + Send;
    /// Whether a key that is not there expired a little while ago.
    fn has_expired(&self, key: &str, now: i64) -> bool;
    /// Number of keys, and bytes of what holds them.
    fn size(&self) -> impl Future<Output = Result<(u64, u64), StoreError>> + Send;
}
