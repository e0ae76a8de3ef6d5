//! Pages of the commit log: names and operations only, so that a page is small whatever its values are.

use rusqlite::params;

use super::Operation;
use super::database::{Database, DatabaseError, sign};
use super::queue::Weight;

/// One entry of the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: i64,
    /// The key as stored.
    pub key: String,
    /// What was done.
    pub operation: Operation,
}

/// Which entries of the commit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Where it begins.
    pub from: LogStart,
    /// At most so many.
    pub limit: usize,
}

/// Where a page of the commit log begins, and in which direction it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// With the next one after this id, oldest first.
    After(i64),
    /// With the last one before this id, newest first.
    Before(i64),
}

/// The logs of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// The commit log.
    Commits,
    /// The access log.
    Visits,
    /// The notifications.
    Notifications,
}

impl Weight for Vec<Commit> {
    fn weight(&self) -> usize {
        self.iter().map(|commit| commit.key.len()).sum()
    }
}

impl Database {
    /// Number of entries of a log.
    pub fn entries(&self, log: Log) -> Result<u64, DatabaseError> {
        let question = match log {
            Log::Commits => "SELECT count(*) FROM commit_log",
            Log::Visits => "SELECT count(*) FROM visits",
            Log::Notifications => "SELECT count(*) FROM notifications",
        };
        let count: i64 = self.connection.prepare_cached(question)?.query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// One page of the commit log.
    pub fn commits(&self, page: LogPage) -> Result<Vec<Commit>, DatabaseError> {
        let (question, start) = match page.from {
            LogStart::After(id) => (
                "SELECT commit_id, key, operation FROM commit_log WHERE commit_id > ?1 ORDER BY commit_id LIMIT ?2",
                id,
            ),
            LogStart::Before(id) => (
                "SELECT commit_id, key, operation FROM commit_log WHERE commit_id < ?1
                 ORDER BY commit_id DESC LIMIT ?2",
                id,
            ),
        };
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(question)?;
        let commits = statement.query_map(params![start, limit], |row| {
            let operation: String = row.get(2)?;
            Ok(Commit { id: row.get(0)?, key: row.get(1)?, operation: operation_of(&operation) })
        })?;
        Ok(commits.collect::<Result<_, _>>()?)
    }
}

fn operation_of(text: &str) -> Operation {
    [Operation::Update, Operation::UpdateMeta, Operation::Delete]
        .into_iter()
        .find(|operation| sign(*operation) == text)
        .unwrap_or(Operation::UpdateAll)
}
