//! What the store's thread holds in memory, and how it gives it back.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

use super::database::{Database, DatabaseError};
use super::file::LOG;
use super::keeper::{Keeper, begin_if_needed};
use crate::metering::Kept;

/// Where the counts for the bill stand in the table `meta`.
const METERING: &str = "metering";

/// How often the files are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// What the store's thread is told about its memory, and what it tells.
#[derive(Debug)]
pub(super) struct Caches {
    /// The size of the page cache.
    pub(super) kib: AtomicU32,
    /// Whether the pages of the files are to be given back.
    pub(super) drop_pages: AtomicBool,
    /// Whether the thread has been told and has not come to it.
    told: AtomicBool,
    /// Bytes of the files, as they were a short time ago.
    pub(super) file_bytes: AtomicU64,
    /// Bytes of the store's pages: no more of them can be in SQLite's cache.
    pub(super) page_bytes: AtomicU64,
}

impl Caches {
    pub(super) fn new(kib: u32) -> Self {
        Self {
            kib: AtomicU32::new(kib),
            drop_pages: AtomicBool::new(false),
            told: AtomicBool::new(false),
            file_bytes: AtomicU64::new(0),
            page_bytes: AtomicU64::new(0),
        }
    }

    /// Whether the thread has to be told now.
    pub(super) fn tell(&self) -> bool {
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// The thread has come to it.
    pub(super) fn heard(&self) {
        self.told.store(false, Ordering::Release);
    }
}

impl Database {
    /// Sets the size of the page cache. What is more than that goes at once.
    pub(super) fn set_cache(&self, kib: u32) -> Result<(), DatabaseError> {
        Ok(self.connection.pragma_update(None, "cache_size", -i64::from(kib))?)
    }

    /// Gives back what SQLite can do without, and the kernel's copies of the files' pages.
    pub(super) fn release(&self) -> Result<(), DatabaseError> {
        self.connection.flush_prepared_statement_cache();
        self.connection.release_memory()?;
        drop_pages(&self.path);
        drop_pages(&self.path.with_file_name(LOG));
        Ok(())
    }

    /// Bytes of the files.
    pub(super) fn file_bytes(&self) -> u64 {
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        length(&self.path) + length(&self.path.with_file_name(LOG))
    }

    /// Bytes of the store's pages, those in its log too.
    pub(super) fn page_bytes(&self) -> Result<u64, DatabaseError> {
        let pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: i64 = self.connection.prepare_cached(pages)?.query_row([], |row| row.get(0))?;
        Ok(bytes.unsigned_abs())
    }

    /// The counts for the bill, where some were kept.
    pub(super) fn metering(&self) -> Option<Kept> {
        let json: String = self
            .connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [METERING], |row| row.get(0))
            .ok()?;
        serde_json::from_str(&json)
            .inspect_err(|error| tracing::error!(%error, json, "the counts for the bill cannot be read"))
            .ok()
    }

    /// Keeps the counts for the bill.
    pub(super) fn keep_metering(&self, kept: &Kept) -> Result<(), DatabaseError> {
        let json = serde_json::to_string(kept)?;
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
            .execute([METERING, &json])?;
        Ok(())
    }
}

impl Keeper {
    /// Tells how large the files are, at most once a second.
    pub(super) fn measure(&mut self) {
        if self.measured.is_some_and(|measured| measured.elapsed() < MEASURE_EVERY) {
            return;
        }
        if let Some(database) = &self.database {
            self.shared.caches.file_bytes.store(database.file_bytes(), Ordering::Relaxed);
            self.measured = Some(Instant::now());
        }
    }

    /// Writes down what is billed, and answers with it where it is on disk. What fails here the next request meets too.
    pub(super) fn keep_metering(&mut self) -> Option<Kept> {
        let database = self.database.as_mut()?;
        let kept = self.shared.meter.kept();
        let written = begin_if_needed(database)
            .and_then(|()| database.keep_metering(&kept))
            .and_then(|()| Ok(database.commit()?));
        match written {
            Ok(()) => Some(kept),
            Err(error) => {
                database.rollback();
                self.fail(&error);
                None
            }
        }
    }

    /// Does what was said about the memory.
    pub(super) fn heed_memory(&mut self) {
        let caches = &self.shared.caches;
        caches.heard();
        let Some(database) = &self.database else { return };
        let mut heeded = database.set_cache(caches.kib.load(Ordering::Relaxed));
        if caches.drop_pages.swap(false, Ordering::Relaxed) {
            heeded = heeded.and_then(|()| database.release());
        }
        if let Err(error) = heeded {
            tracing::warn!(%error, "the store's cache was not changed");
        }
    }
}

/// Has the kernel forget the pages of a file. Those that wait to be written are written first.
pub(crate) fn drop_pages(path: &Path) {
    // A file that is not there has none.
    if let Ok(file) = File::open(path) {
        let dropped = file.sync_data().and_then(|()| Ok(fadvise(&file, 0, None, Advice::DontNeed)?));
        if let Err(error) = dropped {
            tracing::debug!(%error, path = %path.display(), "pages were not dropped");
        }
    }
}
