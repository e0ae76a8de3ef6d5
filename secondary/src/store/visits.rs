//! The access log (reference page section 3.5): who came and what was looked up, the last of it only.

use atsign_protocol::Millis;
use rusqlite::{OptionalExtension, params};

use super::database::{Database, DatabaseError};
use super::queue::Weight;

/// Entries that are kept.
const KEPT: i64 = 2000;

/// One entry of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// When, Unix milliseconds.
    pub at: Millis,
    /// Who, where he said so.
    pub at_sign: Option<String>,
    /// The verb.
    pub verb: &'static str,
    /// The key that was looked up.
    pub key: Option<String>,
}

/// How many names are told of those that are met most often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// AtSigns that came.
    pub at_signs: u32,
    /// Keys that were looked up.
    pub keys: u32,
}

impl Default for Top {
    fn default() -> Self {
        Self { at_signs: 5, keys: 5 }
    }
}

/// What is told of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// AtSigns and how often each came, most frequent first.
    pub at_signs: Vec<(String, i64)>,
    /// Keys and how often each was looked up, most frequent first.
    pub keys: Vec<(String, i64)>,
    /// When the last entry was made.
    pub last: Option<Millis>,
}

impl Weight for Visits {
    fn weight(&self) -> usize {
        self.at_signs.iter().chain(&self.keys).map(|(name, _)| name.len()).sum()
    }
}

impl Database {
    /// Adds entries; the oldest make room.
    pub fn note(&mut self, visits: &[Visit]) -> Result<(), DatabaseError> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO visits (at, at_sign, verb, key) VALUES (?1, ?2, ?3, ?4)")?;
        for visit in visits {
            insert.execute(params![visit.at, visit.at_sign, visit.verb, visit.key])?;
        }
        self.connection
            .prepare_cached("DELETE FROM visits WHERE id <= (SELECT max(id) FROM visits) - ?1")?
            .execute([KEPT])?;
        Ok(())
    }

    /// What is told of the entries that are kept.
    pub fn visits(&self, most: Top) -> Result<Visits, DatabaseError> {
        let top = |question, most: u32| -> Result<Vec<(String, i64)>, DatabaseError> {
            let mut statement = self.connection.prepare_cached(question)?;
            let rows = statement.query_map([most], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        let mut last = self.connection.prepare_cached("SELECT at FROM visits ORDER BY id DESC LIMIT 1")?;
        Ok(Visits {
            at_signs: top("SELECT at_sign, count(*) AS hits FROM visits
                 WHERE at_sign IS NOT NULL AND verb IN ('from', 'pol') GROUP BY at_sign ORDER BY hits DESC, at_sign LIMIT ?1", most.at_signs)?,
            keys: top("SELECT key, count(*) AS hits FROM visits
                 WHERE key IS NOT NULL GROUP BY key ORDER BY hits DESC, key LIMIT ?1", most.keys)?,
            last: last.query_row([], |row| row.get(0)).optional()?,
        })
    }
}
