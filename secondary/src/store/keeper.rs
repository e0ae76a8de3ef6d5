//! The store's thread: everything that is queued goes into one transaction and one fsync, and no answer of it leaves
//! before the fence has confirmed that the store is still ours.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;

use super::StoreError;
use super::database::{Database, DatabaseError};
use super::notifications::Progress;
use super::queue::{Job, Message};
use super::sqlite::{End, Shared};
use super::status::State;
use crate::epoch::fence::Reading;
use crate::epoch::{Holding, boottime};

/// Requests in one group at most.
const GROUP: usize = 128;

/// Bytes that a group may hold before it is ended: what its requests brought and what they answer.
const GROUP_BYTES: usize = 1 << 20;

/// The first pause after a failure of the volume; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A successor has sealed us.
struct Fenced;

/// What an error of SQLite means for what comes next.
#[derive(PartialEq, Eq)]
enum Trouble {
    /// The request was at fault.
    None,
    /// No room: the connection is whole, but the group may be too large.
    Full,
    /// The connection cannot be trusted any more.
    Broken,
}

fn trouble(error: &DatabaseError) -> Trouble {
    let DatabaseError::Sqlite(error) = error else { return Trouble::None };
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) | None => Trouble::None,
        Some(_) => Trouble::Broken,
    }
}

/// The store, while it is ours.
pub(super) struct Keeper {
    holding: Holding,
    /// Absent while the volume fails.
    database: Option<Database>,
    at_sign: String,
    cache_kib: u32,
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    stopping: bool,
    renewal: Duration,
    /// When the next key expires, Unix milliseconds.
    expiry: Option<i64>,
    /// While the volume fails: when to try again, and how long to wait after that.
    again: Option<(Duration, Duration)>,
}

impl Keeper {
    /// The open store of an epoch that is ours.
    pub(super) fn new(
        holding: Holding,
        database: Database,
        at_sign: String,
        cache_kib: u32,
        shared: Arc<Shared>,
        messages: Receiver<Message>,
    ) -> Self {
        Self {
            holding,
            database: Some(database),
            at_sign,
            cache_kib,
            shared,
            messages,
            stopping: false,
            renewal: Duration::ZERO,
            expiry: Some(0),
            again: None,
        }
    }

    /// Serves until it is stopped or fenced. `ready` is called once the store may be used.
    pub(super) fn serve(mut self, ready: impl FnOnce()) -> End {
        if self.do_what_is_due().is_err() {
            return self.fenced();
        }
        self.serving();
        self.announce();
        ready();
        if let Err(error) = self.holding.tidy() {
            tracing::warn!(%error, "what earlier epochs left behind was not removed; the next start tries again");
        }
        while !self.stopping {
            let done = match self.messages.recv_timeout(self.until_due()) {
                Ok(Message::Job(job)) => self.group(job),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => Ok(()),
            };
            if done.and_then(|()| self.do_what_is_due()).is_err() {
                return self.fenced();
            }
        }
        self.stop()
    }

    /// How long nothing has to be done.
    fn until_due(&self) -> Duration {
        let now = boottime();
        let mut wait = self.renewal.saturating_sub(now);
        if let Some((again, _)) = self.again {
            wait = wait.min(again.saturating_sub(now));
        } else if let Some(expiry) = self.expiry {
            let left = expiry.saturating_sub(unix_millis());
            wait = wait.min(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        }
        wait
    }

    fn do_what_is_due(&mut self) -> Result<(), Fenced> {
        self.renew_when_due()?;
        if self.again.is_some_and(|(again, _)| again <= boottime()) {
            self.repair()?;
        }
        if self.again.is_none() && self.expiry.is_some_and(|expiry| expiry <= unix_millis()) {
            self.expire()?;
        }
        Ok(())
    }

    fn renew_when_due(&mut self) -> Result<(), Fenced> {
        let now = boottime();
        if self.renewal > now {
            return Ok(());
        }
        let term = self.shared.lease.term();
        match self.holding.renew(&self.shared.lease) {
            Ok(Reading::Clear) => self.renewal = now + term.next_renewal(random()),
            Ok(Reading::Sealed) => return Err(Fenced),
            Err(error) => {
                tracing::warn!(%error, "the lease was not renewed");
                self.renewal = boottime() + (term.renewal / 10).min(Duration::from_secs(1));
            }
        }
        Ok(())
    }

    /// Does one request, and with it everything else that is queued.
    fn group(&mut self, first: Box<dyn Job>) -> Result<(), Fenced> {
        let Some(database) = &mut self.database else {
            refuse(first, "its volume fails, and is tried again");
            return Ok(());
        };
        let mut held: Vec<Box<dyn Job>> = Vec::new();
        let (mut weight, mut count, mut failure) = (0, 0, None);
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            count += 1;
            if job.writes() || database.in_transaction() {
                failure = begin_if_needed(database)
                    .and_then(|()| database.alone(|database| job.run(database)))
                    .err()
                    .filter(|error| trouble(error) != Trouble::None);
                weight += job.weight();
                held.push(job);
            } else {
                failure = job.run(database).err().filter(|error| trouble(error) == Trouble::Broken);
                job.answer();
            }
            if failure.is_some() || count >= GROUP || weight >= GROUP_BYTES {
                break;
            }
            next = match self.messages.try_recv() {
                Ok(Message::Job(job)) => Some(job),
                Ok(Message::Stop) => {
                    self.stopping = true;
                    None
                }
                Err(_) => None,
            };
        }
        self.finish(held, failure)
    }

    /// Ends the transaction of a group and answers it.
    fn finish(&mut self, mut held: Vec<Box<dyn Job>>, failure: Option<DatabaseError>) -> Result<(), Fenced> {
        let began = Instant::now();
        let Some(database) = &mut self.database else { return Ok(()) };
        let mut ended = match failure {
            Some(error) => Err(error),
            None if database.in_transaction() => database.commit().map_err(DatabaseError::from),
            None => Ok(()),
        };
        if let Err(error) = &ended {
            database.rollback();
            // One large value must not take its neighbours with it.
            if trouble(error) == Trouble::Full && held.len() > 1 {
                ended = one_by_one(database, &mut held);
            } else {
                for job in &mut held {
                    job.fail(StoreError::Failed(error.to_string()));
                }
            }
        }
        if !held.is_empty() {
            self.confirm()?;
            self.count(&held, began.elapsed());
        }
        match ended {
            Ok(()) => {
                self.look_for_expiry();
                self.announce();
                // A commit that worked is the proof that a full volume has room again.
                if self.again.take().is_some() {
                    self.serving();
                }
            }
            Err(error) => self.fail(&error),
        }
        for job in held {
            job.answer();
        }
        Ok(())
    }

    /// Waits until the fence says that the store was still ours after what is now on disk. An error of the volume is
    /// no answer; it is asked again, and whoever waits gives up when the lease does.
    fn confirm(&mut self) -> Result<(), Fenced> {
        let mut pause = PAUSE;
        loop {
            match self.holding.read_fence() {
                Ok(Reading::Clear) => return Ok(()),
                Ok(Reading::Sealed) => return Err(Fenced),
                Err(error) => self.fence_unreadable(&error),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.renew_when_due()?;
        }
    }

    fn fence_unreadable(&self, error: &io::Error) {
        let reason = format!("the seal of our epoch cannot be read: {error}");
        self.shared.status.set(State::Failing { epoch: self.holding.number(), reason });
    }

    fn count(&self, held: &[Box<dyn Job>], took: Duration) {
        let figures = &self.shared.figures;
        figures.committed(took);
        for job in held.iter().filter(|job| job.writes()) {
            let counter = if job.succeeded() { &figures.changes } else { &figures.failed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Deletes what has expired, a bounded number of keys; the rest is due at once again.
    fn expire(&mut self) -> Result<(), Fenced> {
        let Some(database) = &mut self.database else { return Ok(()) };
        let now = unix_millis();
        let expired = begin_if_needed(database)
            .and_then(|()| database.expire(now))
            .and_then(|count| Ok(database.commit().map(|()| count)?));
        match expired {
            Ok(count) => {
                self.confirm()?;
                self.shared.figures.expired.fetch_add(count as u64, Ordering::Relaxed);
                self.look_for_expiry();
                self.announce();
            }
            Err(error) => {
                database.rollback();
                self.fail(&error);
            }
        }
        Ok(())
    }

    fn look_for_expiry(&mut self) {
        if let Some(database) = &self.database {
            // Where this fails the next request fails too, and says so.
            self.expiry = database.next_expiry().unwrap_or(None);
        }
    }

    /// Wakes who waits for news. Only ever after the fence has confirmed what is told here.
    fn announce(&self) {
        let Some(database) = &self.database else { return };
        let now = Progress { commit: database.next - 1, deleted: database.deleted, posted: database.posted };
        self.shared.progress.send_if_modified(|progress| std::mem::replace(progress, now) != now);
    }

    fn serving(&self) {
        self.shared.status.set(State::Serving { epoch: self.holding.number() });
    }

    /// The volume failed: the connection is given up where it cannot be trusted, and tried again later.
    fn fail(&mut self, error: &DatabaseError) {
        match trouble(error) {
            // A single request was at fault, such as a group's last one that was done alone.
            Trouble::None => return,
            Trouble::Full => {}
            Trouble::Broken => self.database = None,
        }
        self.again.get_or_insert((boottime() + PAUSE, PAUSE));
        let reason = error.to_string();
        self.shared.status.set(State::Failing { epoch: self.holding.number(), reason });
    }

    /// Opens the store again where that is needed, and writes to it. Under the same epoch: it is still ours.
    fn repair(&mut self) -> Result<(), Fenced> {
        match self.try_repair()? {
            Ok(()) => {
                self.again = None;
                self.look_for_expiry();
                self.serving();
            }
            Err(reason) => {
                let pause = self.again.map_or(PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
                self.again = Some((boottime() + pause, pause));
                self.shared.status.set(State::Failing { epoch: self.holding.number(), reason });
            }
        }
        Ok(())
    }

    fn try_repair(&mut self) -> Result<Result<(), String>, Fenced> {
        // Opening writes the log back, which is no longer ours to do once we are sealed.
        match self.holding.read_fence() {
            Ok(Reading::Clear) => {}
            Ok(Reading::Sealed) => return Err(Fenced),
            Err(error) => return Ok(Err(error.to_string())),
        }
        if self.database.is_none() {
            match Database::open(self.holding.folder(), &self.at_sign, self.cache_kib) {
                Ok(database) => self.database = Some(database),
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        let Some(database) = &mut self.database else { return Ok(Ok(())) };
        let probed = begin_if_needed(database)
            .and_then(|()| database.probe())
            .and_then(|()| Ok(database.commit()?))
            .and_then(|()| database.write_back());
        if let Err(error) = probed {
            database.rollback();
            if trouble(&error) == Trouble::Broken {
                self.database = None;
            }
            return Ok(Err(error.to_string()));
        }
        self.confirm()?;
        Ok(Ok(()))
    }

    /// A clean stop: the store is closed and on disk, and the epoch says so.
    fn stop(mut self) -> End {
        self.shared.status.set(State::Ended);
        match self.holding.read_fence() {
            Ok(Reading::Clear) => {}
            Ok(Reading::Sealed) => return self.fenced(),
            Err(error) => return End::Unreleased(error.to_string()),
        }
        let Some(database) = self.database.take() else {
            return End::Unreleased("its volume fails".to_owned());
        };
        if let Err(error) = database.close() {
            return End::Unreleased(error.to_string());
        }
        match self.holding.release() {
            Ok(Reading::Clear) => End::Released,
            Ok(Reading::Sealed) => End::Fenced,
            Err(error) => End::Unreleased(error.to_string()),
        }
    }

    /// Somebody else has the store. It is not closed, for closing writes to it.
    fn fenced(mut self) -> End {
        self.shared.lease.lapse();
        std::mem::forget(self.database.take());
        self.shared.status.set(State::Ended);
        End::Fenced
    }
}

fn refuse(mut job: Box<dyn Job>, reason: &str) {
    job.fail(StoreError::Unavailable(reason.to_owned()));
    job.answer();
}

fn begin_if_needed(database: &mut Database) -> Result<(), DatabaseError> {
    if !database.in_transaction() {
        database.begin()?;
    }
    Ok(())
}

/// Gives each request of a group that found no room a transaction of its own. The last trouble, where there was any.
fn one_by_one(database: &mut Database, held: &mut [Box<dyn Job>]) -> Result<(), DatabaseError> {
    let mut ended = Ok(());
    for job in held {
        let done =
            begin_if_needed(database).and_then(|()| job.run(database)).and_then(|()| Ok(database.commit()?));
        if let Err(error) = done {
            database.rollback();
            if !matches!(error, DatabaseError::Refused(_)) {
                job.fail(StoreError::Failed(error.to_string()));
                ended = Err(error);
            }
        }
    }
    ended
}

/// Any number; it only spreads renewals.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// Unix milliseconds, for expiry alone.
fn unix_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
