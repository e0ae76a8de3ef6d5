//! The store's thread: everything that is queued goes into one transaction and one fsync, and no answer of it leaves
//! before the fence has confirmed that the store is still ours.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::database::{Database, DatabaseError};
use super::failure::{LONGEST_PAUSE, PAUSE, Trouble, trouble};
use super::notifications::Progress;
use super::queue::{Job, Message};
use super::sqlite::{End, Shared};
use super::status::{State, damaged};
use super::walk::{Found, Walk};
use crate::epoch::fence::Reading;
use crate::epoch::{Holding, boottime};

/// Requests in one group at most.
const GROUP: usize = 128;

/// Bytes that a group may hold before it is ended: what its requests brought and what they answer.
const GROUP_BYTES: usize = 256 << 10;

/// The store is looked over while nobody asked anything for so long, and at least so often.
const IDLE: Duration = Duration::from_millis(5);
const BUSY: Duration = Duration::from_millis(250);

/// A successor has sealed us.
pub(super) struct Fenced;

/// The store, while it is ours.
pub(super) struct Keeper {
    pub(super) holding: Holding,
    /// Absent while the volume fails.
    pub(super) database: Option<Database>,
    pub(super) at_sign: String,
    pub(super) shared: Arc<Shared>,
    messages: Receiver<Message>,
    stopping: bool,
    /// The lease was renewed, so what is billed is to be kept.
    renewed: bool,
    /// When the files were last measured.
    pub(super) measured: Option<Instant>,
    renewal: Duration,
    /// When the next key expires, Unix milliseconds.
    expiry: Option<i64>,
    /// While the volume fails: when to try again, and how long to wait after that.
    pub(super) again: Option<(Duration, Duration)>,
    /// Whether the open store can only be read.
    pub(super) read_only: bool,
    /// What is damaged. Nothing is written any more: it could only make it worse.
    pub(super) damage: Option<String>,
    /// How far the store was looked over, and when it goes on at the latest, however busy we are.
    walk: (Walk, Duration),
}

impl Keeper {
    /// The open store of an epoch that is ours.
    pub(super) fn new(
        holding: Holding,
        mut database: Database,
        at_sign: String,
        shared: Arc<Shared>,
        messages: Receiver<Message>,
    ) -> Self {
        shared.meter.begin(database.metering(), unix_millis());
        database.quota = Arc::clone(&shared.quota);
        Self {
            holding,
            database: Some(database),
            at_sign,
            shared,
            messages,
            stopping: false,
            renewed: false,
            measured: None,
            renewal: Duration::ZERO,
            expiry: Some(0),
            again: None,
            read_only: false,
            damage: None,
            walk: (Walk::default(), Duration::ZERO),
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
                Ok(Message::Memory) => {
                    self.heed_memory();
                    Ok(())
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.walk_on();
                    Ok(())
                }
            };
            if self.walk.1 <= boottime() {
                self.walk_on();
            }
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
        } else if let Some(expiry) = self.expiry.filter(|_| self.damage.is_none()) {
            let left = expiry.saturating_sub(unix_millis());
            wait = wait.min(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        }
        if self.walks() { wait.min(IDLE) } else { wait }
    }

    /// Whether the store is still being looked over.
    fn walks(&self) -> bool {
        self.walk.0 != Walk::Done && self.damage.is_none() && self.again.is_none()
    }

    /// Looks over the next few rows.
    fn walk_on(&mut self) {
        let Some(database) = self.database.as_ref().filter(|_| self.walks()) else { return };
        self.walk.1 = boottime() + BUSY;
        match database.walk(&self.walk.0) {
            Ok(next) => {
                if next == Walk::Done {
                    tracing::info!("the store was looked over and is sound");
                    self.shared.figures.looked_over.store(true, Ordering::Relaxed);
                }
                self.walk.0 = next;
            }
            Err(Found::Damage(reason)) => self.damaged(reason),
            Err(Found::Error(error)) => self.fail(&error),
        }
    }

    fn do_what_is_due(&mut self) -> Result<(), Fenced> {
        self.measure();
        self.renew_when_due()?;
        if self.again.is_some_and(|(again, _)| again <= boottime()) {
            self.repair()?;
        }
        let writable = self.again.is_none() && self.damage.is_none();
        if writable && self.expiry.is_some_and(|expiry| expiry <= unix_millis()) {
            self.expire()?;
        }
        if std::mem::take(&mut self.renewed) && self.again.is_none() && self.damage.is_none() {
            let kept = self.keep_metering();
            self.confirm()?;
            if let Some(kept) = kept {
                self.shared.meter.saved(kept);
            }
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
            Ok(Reading::Clear) => {
                self.renewal = now + term.next_renewal(random());
                self.renewed = true;
            }
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
            let reason = "its volume fails, and is tried again";
            refuse(first, self.damage.as_deref().unwrap_or(reason));
            return Ok(());
        };
        let mut held: Vec<Box<dyn Job>> = Vec::new();
        let (mut weight, mut count, mut failure, mut memory) = (0, 0, None, false);
        let (mut next, mut afterwards) = (Some(first), None);
        while let Some(mut job) = next.take() {
            count += 1;
            if job.abandoned() {
                // Whoever asked was told that the store does not answer, so it must not happen later.
            } else if job.alone() && database.in_transaction() {
                afterwards = Some(job);
                break;
            } else if let (true, Some(reason)) = (job.writes(), &self.damage) {
                job.fail(StoreError::Failed(damaged(reason)));
                job.answer();
            } else if job.writes() || database.in_transaction() {
                failure = begin_if_needed(database)
                    .and_then(|()| database.alone(|database| job.run(database)))
                    .err()
                    .filter(|error| trouble(error) != Trouble::None);
                weight += job.weight();
                held.push(job);
            } else {
                failure = job
                    .run(database)
                    .err()
                    .filter(|error| matches!(trouble(error), Trouble::Broken | Trouble::Damaged));
                job.answer();
            }
            if failure.is_some() || count >= GROUP || weight >= GROUP_BYTES {
                break;
            }
            next = match self.messages.try_recv() {
                Ok(Message::Job(job)) => Some(job),
                Ok(Message::Memory) => {
                    memory = true;
                    None
                }
                Ok(Message::Stop) => {
                    self.stopping = true;
                    None
                }
                Err(_) => None,
            };
        }
        self.finish(held, failure)?;
        if memory {
            self.heed_memory();
        }
        afterwards.map_or(Ok(()), |job| self.group(job))
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
            // Some of a group that failed as a whole may have found room alone.
            self.look_for_expiry();
            self.announce();
            self.end_a_long_hold();
        }
        match ended {
            // A change on disk is the proof that a full volume has room again.
            Ok(()) if held.iter().any(|job| job.writes() && job.succeeded()) => {
                if self.again.take().is_some() {
                    self.serving();
                }
            }
            Ok(()) => {}
            Err(error) => self.fail(&error),
        }
        for job in held {
            job.answer();
        }
        Ok(())
    }

    /// A log that somebody holds takes memory and room; that must end also where changes come faster than a backup
    /// is made.
    fn end_a_long_hold(&mut self) {
        if let Some(database) = self.database.as_mut().filter(|database| database.log_is_too_long()) {
            // Where it fails so does the next request, and says so.
            let _ = database.let_log_go();
        }
    }

    /// Waits until the fence says that the store was still ours after what is now on disk. An error of the volume is
    /// no answer; it is asked again, and whoever waits gives up when the lease does.
    pub(super) fn confirm(&mut self) -> Result<(), Fenced> {
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
            .and_then(|gone| Ok(database.commit().map(|()| gone)?));
        match expired {
            Ok((keys, notifications)) => {
                self.confirm()?;
                let count = keys.len() + notifications;
                self.shared.figures.expired.fetch_add(count as u64, Ordering::Relaxed);
                self.shared.gone.add(keys.iter().map(String::as_str), now);
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

    pub(super) fn look_for_expiry(&mut self) {
        if let Some(database) = &self.database {
            // Where this fails the next request fails too, and says so.
            self.expiry = database.next_expiry().unwrap_or(None);
        }
    }

    /// Tells how far the store has come, and wakes who waits for that. Only ever after the fence has confirmed it.
    fn announce(&self) {
        let Some(database) = &self.database else { return };
        let counts = database.counts;
        let now = Progress { commit: counts.next - 1, deleted: counts.deleted, posted: counts.posted };
        self.shared.progress.send_if_modified(|progress| std::mem::replace(progress, now) != now);
        self.shared.status.set_activated(counts.activated);
        if let Ok(bytes) = database.page_bytes() {
            self.shared.caches.page_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// A clean stop: the store is closed and on disk, and the epoch says so.
    fn stop(mut self) -> End {
        self.shared.status.set(State::Ended);
        match self.holding.read_fence() {
            Ok(Reading::Clear) => {}
            Ok(Reading::Sealed) => return self.fenced(),
            Err(error) => return End::Unreleased(error.to_string()),
        }
        // Nobody asks any more, so it need not be told.
        let _ = self.keep_metering();
        let Some(database) = self.database.take() else {
            return End::Unreleased("its volume fails".to_owned());
        };
        if self.damage.is_some() {
            // Closing writes the log back. What was acknowledged is on disk without that.
            drop(database);
        } else if let Err(error) = database.close() {
            return End::Unreleased(error.to_string());
        }
        match self.holding.release() {
            Ok(Reading::Clear) => End::Released,
            Ok(Reading::Sealed) => End::Fenced,
            Err(error) => End::Unreleased(error.to_string()),
        }
    }

    /// Somebody else has the store. It is dropped without being closed, for closing writes to it.
    fn fenced(self) -> End {
        self.shared.lease.lapse();
        self.shared.status.set(State::Ended);
        End::Fenced
    }
}

fn refuse(mut job: Box<dyn Job>, reason: &str) {
    job.fail(StoreError::Unavailable(reason.to_owned()));
    job.answer();
}

pub(super) fn begin_if_needed(database: &mut Database) -> Result<(), DatabaseError> {
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
            if !matches!(error, DatabaseError::Refused(_) | DatabaseError::OverLimit(_)) {
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
