//! What the store's thread does when its volume fails, or when the store is damaged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::database::{Database, DatabaseError};
use super::file::OpenError;
use super::keeper::{Fenced, Keeper, begin_if_needed};
use super::status::State;
use crate::epoch::boottime;
use crate::epoch::fence::Reading;

/// The first pause after a failure of the volume; it doubles up to the longest.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What an error of SQLite means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The request was at fault.
    None,
    /// No room: the connection is whole, but the group may be too large.
    Full,
    /// The volume takes nothing; what is there can be read.
    ReadOnly,
    /// What is stored is not what was written. The connection is whole, and reads what there is to read.
    Damaged,
    /// The connection cannot be trusted any more.
    Broken,
}

pub(super) fn trouble(error: &DatabaseError) -> Trouble {
    let DatabaseError::Sqlite(error) = error else { return Trouble::None };
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full,
        Some(ErrorCode::ReadOnly) => Trouble::ReadOnly,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Trouble::Damaged,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) | None => Trouble::None,
        Some(_) => Trouble::Broken,
    }
}

impl Keeper {
    pub(super) fn serving(&self) {
        if self.damage.is_none() {
            self.shared.status.set(State::Serving { epoch: self.holding.number() });
        }
    }

    pub(super) fn fence_unreadable(&self, error: &io::Error) {
        let reason = format!("the seal of our epoch cannot be read: {error}");
        self.shared.status.set(State::Failing { epoch: self.holding.number(), reason });
    }

    /// The volume failed: the connection is given up where it cannot be trusted, and tried again later.
    pub(super) fn fail(&mut self, error: &DatabaseError) {
        match trouble(error) {
            // A single request was at fault, such as a group's last one that was done alone.
            Trouble::None => return,
            Trouble::Damaged => return self.damaged(error.to_string()),
            Trouble::Full => {}
            Trouble::ReadOnly | Trouble::Broken => self.database = None,
        }
        self.again.get_or_insert((boottime() + PAUSE, PAUSE));
        let reason = error.to_string();
        self.shared.status.set(State::Failing { epoch: self.holding.number(), reason });
    }

    /// From now on the store is only read, and not ready, so that somebody hears of it.
    pub(super) fn damaged(&mut self, reason: String) {
        let reason = self.damage.get_or_insert(reason).clone();
        self.again = None;
        self.shared.status.set(State::Damaged { epoch: self.holding.number(), reason });
    }

    /// Opens the store again where that is needed, and writes to it. Under the same epoch: it is still ours.
    pub(super) fn repair(&mut self) -> Result<(), Fenced> {
        match self.try_repair()? {
            Ok(()) => {
                self.again = None;
                self.look_for_expiry();
                self.serving();
            }
            Err(_) if self.damage.is_some() => {}
            Err(reason) => {
                let pause = self.again.map_or(PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
                self.again = Some((boottime() + pause, pause));
                self.shared.status.set(State::Failing { epoch: self.holding.number(), reason });
            }
        }
        Ok(())
    }

    pub(super) fn try_repair(&mut self) -> Result<Result<(), String>, Fenced> {
        // Opening writes the log back, which is no longer ours to do once we are sealed.
        match self.holding.read_fence() {
            Ok(Reading::Clear) => {}
            Ok(Reading::Sealed) => return Err(Fenced),
            Err(error) => return Ok(Err(error.to_string())),
        }
        if self.read_only {
            // A connection that was opened on a read-only volume stays so.
            self.database = None;
        }
        if self.database.is_none() {
            let kib = self.shared.caches.kib.load(Ordering::Relaxed);
            match Database::open(self.holding.folder(), &self.at_sign, kib) {
                Ok(mut database) => {
                    database.quota = Arc::clone(&self.shared.quota);
                    self.database = Some(database);
                }
                Err(error @ OpenError::Damaged { .. }) => {
                    self.damaged(error.to_string());
                    return Ok(Ok(()));
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        let Some(database) = self.database.as_mut().filter(|_| self.damage.is_none()) else {
            return Ok(Ok(()));
        };
        let probed = begin_if_needed(database)
            .and_then(|()| database.probe())
            .and_then(|()| Ok(database.commit()?))
            .and_then(|()| database.write_back());
        if let Err(error) = probed {
            database.rollback();
            match trouble(&error) {
                Trouble::Broken => self.database = None,
                Trouble::Damaged => self.damaged(error.to_string()),
                trouble => self.read_only = trouble == Trouble::ReadOnly,
            }
            return Ok(Err(error.to_string()));
        }
        self.read_only = false;
        self.confirm()?;
        Ok(Ok(()))
    }
}
