//! How much there is in a store, counted one by one: for backups, which are compared by it.

use atsign_protocol::backup::Counts;

use super::database::{Database, DatabaseError};

impl Database {
    /// Counts everything. It reads the whole store, so it is for one that nobody waits for.
    pub(crate) fn count_all(&self) -> Result<Counts, DatabaseError> {
        let count = |what: &str| -> Result<u64, DatabaseError> {
            let question = format!("SELECT count(*) FROM {what}");
            let count: i64 = self.connection.query_row(&question, [], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        };
        Ok(Counts {
            keys: count("keys")?,
            commits: count("commit_log")?,
            notifications: count("notifications")?,
            enrollments: count("keys WHERE instr(key, '.new.enrollments.__manage@') > 0")?,
        })
    }
}
