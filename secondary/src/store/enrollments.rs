//! The stored enrollments, found by an index of their own.

use rusqlite::params;

use super::Record;
use super::database::{Database, DatabaseError};
use super::queue::Weight;

impl Weight for Vec<(String, Record)> {
    fn weight(&self) -> usize {
        self.iter().map(|(key, record)| key.len() + record.value.as_ref().map_or(0, String::len)).sum()
    }
}

impl Database {
    /// Enrollments that are active at `now`, in the order of their names, after `after`.
    pub fn enrollments(
        &self,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<Vec<(String, Record)>, DatabaseError> {
        // The first term is that of the index, word for word: else SQLite refuses the question.
        let mut statement = self.connection.prepare_cached(
            "SELECT key, value, metadata FROM keys INDEXED BY enrollments WHERE instr(key, '.new.enrollments.__manage@') > 0 AND key > ?1
             AND (available_at IS NULL OR available_at <= ?2) AND (expires_at IS NULL OR expires_at > ?2)
             ORDER BY key LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![after.unwrap_or(""), now, limit])?;
        let mut enrollments = Vec::new();
        while let Some(row) = rows.next()? {
            let metadata: String = row.get(2)?;
            let record = Record { value: row.get(1)?, metadata: serde_json::from_str(&metadata)? };
            enrollments.push((row.get(0)?, record));
        }
        Ok(enrollments)
    }
}
