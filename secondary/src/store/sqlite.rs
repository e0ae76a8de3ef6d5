//! The SQLite store as the sessions see it.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::caches::Caches;
use super::database::{Database, DatabaseError};
use super::figures::Figures;
use super::file::{Files, OpenError};
use super::gone::Gone;
use super::keeper::Keeper;
use super::notifications::Progress;
use super::queue::{Manner, Queue, Weight};
use super::quota::Quota;
use super::status::{State, Status};
use super::{Change, Commit, Fetched, Log, LogPage, Page, Record, Store, StoreError, Top, Visit, Visits};
use crate::epoch::fence::Reading;
use crate::epoch::files::EpochFiles;
use crate::epoch::{Claimant, Holding, Lease, TakeoverError, Term, boottime, takeover};
use crate::metering::Meter;

/// The store's thread needs little: SQLite keeps its pages on the heap.
const STACK: usize = 256 * 1024;

/// What a store needs to know.
pub struct Config {
    /// The storage directory: it exists.
    pub storage: PathBuf,
    /// Whose data it holds, with its `@`.
    pub at_sign: String,
    /// Who holds it: the pod's UID, or the machine's boot id.
    pub holder: String,
    /// The times of the lease.
    pub term: Term,
    /// Size of SQLite's page cache at first.
    pub cache_kib: u32,
    /// What is billed, kept with the data.
    pub meter: Arc<Meter>,
    /// Holders that were attested dead, asked anew while somebody else holds the store.
    pub dead: Box<dyn FnMut() -> Vec<String> + Send>,
}

/// How the store's thread ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Closed, on disk, and released: the next server starts at once.
    Released,
    /// Not closed cleanly; everything acknowledged is on disk, and the next server waits the term.
    Unreleased(String),
    /// Another server has taken the store.
    Fenced,
}

/// What the store's thread shares with those who ask.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) lease: Lease,
    pub(super) status: Arc<Status>,
    pub(super) figures: Arc<Figures>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) caches: Caches,
    pub(super) gone: Gone,
    pub(super) meter: Arc<Meter>,
    pub(super) quota: Arc<Quota>,
}

/// A store that is being opened.
pub struct Opening {
    /// Where it stands.
    pub status: Arc<Status>,
    /// What it counts.
    pub figures: Arc<Figures>,
    /// The store once it is ours, which may take as long as somebody else holds it.
    pub store: oneshot::Receiver<Result<SqliteStore, TakeoverError>>,
    /// How it ended. Nothing comes where it never was ours.
    pub end: oneshot::Receiver<End>,
}

/// The store of one atSign in SQLite. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    queue: Queue,
    pub(super) shared: Arc<Shared>,
}

/// Starts the store's thread.
pub fn open(config: Config) -> std::io::Result<Opening> {
    let status = Arc::new(Status::default());
    let figures = Arc::new(Figures::default());
    let shared = Arc::new(Shared {
        lease: Lease::new(config.term),
        status: Arc::clone(&status),
        figures: Arc::clone(&figures),
        progress: watch::Sender::new(Progress::default()),
        caches: Caches::new(config.cache_kib),
        gone: Gone::default(),
        meter: Arc::clone(&config.meter),
        quota: Arc::default(),
    });
    let (ready, store) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("store".to_owned()).stack_size(STACK).spawn(move || {
        let (at_sign, cache_kib) = (config.at_sign.clone(), config.cache_kib);
        let opened = take_over(config, &shared.status)
            .and_then(|holding| open_database(holding, &at_sign, cache_kib, &shared));
        let (holding, database) = match opened {
            Ok(Some(opened)) => opened,
            // Whoever waited for either answer may be gone: the process is ending.
            Ok(None) => return drop(ended.send(End::Fenced)),
            Err(error) => return drop(ready.send(Err(error))),
        };
        let (queue, messages) = Queue::new();
        let handle = SqliteStore { queue, shared: Arc::clone(&shared) };
        let keeper = Keeper::new(holding, database, at_sign, shared, messages);
        let _ = ended.send(keeper.serve(|| drop(ready.send(Ok(handle)))));
    })?;
    Ok(Opening { status, figures, store, end })
}

fn take_over(config: Config, status: &Arc<Status>) -> Result<Holding, TakeoverError> {
    let files = patiently(status, || Ok(EpochFiles::open(&config.storage)?))?;
    let reported = Arc::clone(status);
    let mut claimant = Claimant {
        files,
        contents: Files { at_sign: config.at_sign.clone() },
        at_sign: config.at_sign,
        holder: config.holder,
        term: config.term,
        dead: config.dead,
        report: Box::new(move |progress| reported.set(State::Claiming(progress))),
    };
    patiently(status, || claimant.take_over())
}

/// Waits out a volume that is read-only: its server may have a bad day, and who looks for the reason finds it in the
/// readiness.
fn patiently<T>(
    status: &Status,
    mut attempt: impl FnMut() -> Result<T, TakeoverError>,
) -> Result<T, TakeoverError> {
    loop {
        match attempt() {
            Err(TakeoverError::Io(error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                status.set(State::Claiming(takeover::Progress::Failing(error.to_string())));
                std::thread::sleep(Duration::from_secs(1));
            }
            ended => return ended,
        }
    }
}

/// Opens the store of an epoch that is ours, and waits out a volume that fails. `None`: a successor has sealed us.
fn open_database(
    mut holding: Holding,
    at_sign: &str,
    cache_kib: u32,
    shared: &Shared,
) -> Result<Option<(Holding, Database)>, TakeoverError> {
    loop {
        match Database::open(holding.folder(), at_sign, cache_kib) {
            Ok(database) => return Ok(Some((holding, database))),
            Err(error @ OpenError::Volume { .. }) => {
                shared.status.set(State::Failing { epoch: holding.number(), reason: error.to_string() });
                std::thread::sleep(Duration::from_secs(1));
                // It stays ours while it is tried, unless another server could reach the volume and has taken it.
                if matches!(holding.renew(&shared.lease), Ok(Reading::Sealed)) {
                    return Ok(None);
                }
            }
            // A successor removes what it has copied.
            Err(_) if matches!(holding.read_fence(), Ok(Reading::Sealed)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

impl SqliteStore {
    /// Answers once the thread has come to it: the store is ours and its thread lives.
    pub async fn answers(&self) -> Result<(), StoreError> {
        self.ask(false, 0, |_| Ok(())).await
    }

    /// Where the store stands.
    pub fn state(&self) -> State {
        self.shared.status.state()
    }

    /// From now on the store's file stays as it is, and changes go to its log alone: until [`Self::let_log_go`], or
    /// until the log has become too long or the volume has failed. Answers with the folder of both.
    pub(crate) async fn hold_log(&self, by: u64) -> Result<PathBuf, StoreError> {
        self.ask_in(Manner::Alone, 0, move |database| {
            database.hold_log(by)?;
            Ok(database.folder().to_owned())
        })
        .await
    }

    /// Bytes of the log, all of whose transactions are whole.
    pub(crate) async fn log_length(&self) -> Result<u64, StoreError> {
        self.ask_in(Manner::Alone, 0, |database| database.log_length()).await
    }

    /// Lets the log go, and answers whether it was held all the time.
    pub(crate) async fn let_log_go(&self, by: u64) -> Result<bool, StoreError> {
        self.ask_in(Manner::Alone, 0, move |database| {
            let held = database.held == by;
            database.let_log_go()?;
            Ok(held)
        })
        .await
    }

    /// Sets the size of the page cache, as soon as the thread comes to it.
    pub(crate) fn set_cache(&self, bytes: u64) {
        let kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        if self.shared.caches.kib.swap(kib, Ordering::Relaxed) != kib {
            self.tell_of_memory();
        }
    }

    /// Has the thread give back the pages of the files, as soon as it comes to it.
    pub(crate) fn drop_pages(&self) {
        self.shared.caches.drop_pages.store(true, Ordering::Relaxed);
        self.tell_of_memory();
    }

    fn tell_of_memory(&self) {
        if self.shared.caches.tell() {
            self.queue.tell_of_memory();
        }
    }

    /// Gives back what SQLite and the kernel hold of the store. Done when it returns.
    pub(crate) async fn shrink(&self) -> Result<(), StoreError> {
        self.ask(false, 0, |database| database.release()).await
    }

    /// Bytes of the files, as they were a short time ago.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.shared.caches.file_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of its pages: no more of them can be in SQLite's cache.
    pub(crate) fn page_bytes(&self) -> u64 {
        self.shared.caches.page_bytes.load(Ordering::Relaxed)
    }

    /// Asks the thread to close the store after everything that is queued.
    pub fn stop(&self) {
        self.queue.stop();
    }

    /// Nothing is answered once the last confirmation is older than the term, for the thread may hang in its volume
    /// while another server has long taken over.
    pub(super) async fn ask<T: Weight + Send + 'static>(
        &self,
        writes: bool,
        brought: usize,
        work: impl FnMut(&mut Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let manner = if writes { Manner::Write } else { Manner::Read };
        self.ask_in(manner, brought, work).await
    }

    async fn ask_in<T: Weight + Send + 'static>(
        &self,
        manner: Manner,
        brought: usize,
        work: impl FnMut(&mut Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut asked = pin!(self.queue.ask(manner, brought, work));
        while let Some(left) = self.shared.lease.remaining(boottime()) {
            let Ok(answer) = tokio::time::timeout(left, &mut asked).await else { continue };
            if self.shared.lease.remaining(boottime()).is_none() {
                break;
            }
            return answer;
        }
        Err(StoreError::Unavailable("it was not confirmed for a whole term that it is ours".to_owned()))
    }
}

impl Store for SqliteStore {
    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let key = key.to_owned();
        self.ask(false, key.len(), move |database| database.get(&key)).await
    }

    async fn get_up_to(&self, key: &str, most: u64) -> Result<Option<Fetched>, StoreError> {
        let key = key.to_owned();
        self.ask(false, key.len(), move |database| database.get_up_to(&key, most)).await
    }

    async fn scan(&self, page: Page, now: i64) -> Result<Vec<String>, StoreError> {
        self.ask(false, 0, move |database| database.scan(&page, now)).await
    }

    async fn commit(&self, change: Change, now: i64) -> Result<i64, StoreError> {
        let brought = match &change {
            Change::Put { key, value, .. } => key.len() + value.as_ref().map_or(0, String::len),
            Change::Delete { key, .. } => {
                self.shared.gone.forget(key);
                key.len()
            }
        };
        self.ask(true, brought, move |database| database.apply(&change, now)).await
    }

    async fn last_commit(&self, matches: Option<String>) -> Result<i64, StoreError> {
        self.ask(false, 0, move |database| database.last_commit(matches.as_deref())).await
    }

    async fn commits(&self, page: LogPage) -> Result<Vec<Commit>, StoreError> {
        self.ask(false, 0, move |database| database.commits(page)).await
    }

    async fn note(&self, visits: Vec<Visit>) -> Result<(), StoreError> {
        self.ask(true, 0, move |database| database.note(&visits)).await
    }

    async fn enrollments(
        &self,
        after: Option<String>,
        limit: usize,
        now: i64,
    ) -> Result<Vec<(String, Record)>, StoreError> {
        self.ask(false, 0, move |database| database.enrollments(after.as_deref(), limit, now)).await
    }

    async fn entries(&self, log: Log) -> Result<u64, StoreError> {
        self.ask(false, 0, move |database| database.entries(log)).await
    }

    async fn visits(&self, most: Top) -> Result<Visits, StoreError> {
        self.ask(false, 0, move |database| database.visits(most)).await
    }

    fn has_expired(&self, key: &str, now: i64) -> bool {
        self.shared.gone.has(key, now)
    }

    async fn size(&self) -> Result<(u64, u64), StoreError> {
        self.ask(false, 0, Database::size).await
    }
}
