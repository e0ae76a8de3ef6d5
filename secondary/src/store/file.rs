//! The SQLite file: its schema, and how it is made, opened, checked and closed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atsign_protocol::key::PKAM_PUBLIC_KEY;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::database::{Counts, Database};
use super::wal::{self, Log};
use crate::epoch::volume::sync_directory;
use crate::epoch::{Contents, TakeoverError};

/// Name of the file in a data folder.
pub const FILE: &str = "store.db";

/// Name of its write-ahead log.
pub const LOG: &str = "store.db-wal";

/// Name in `meta` of the lowest commit id that may be given.
const FLOOR: &str = "nextCommit";

/// Version of the schema, in the file's `user_version`.
pub(crate) const SCHEMA: i64 = 1;

/// `value` stands last, so that what is asked most (the times, the metadata) is read without it. The commit log has
/// one entry per key, the latest; so its highest id is never removed but by a higher one, and no id is given twice.
const CREATE: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        available_at INTEGER,
        expires_at INTEGER,
        metadata TEXT NOT NULL,
        value TEXT
    ) WITHOUT ROWID;
    CREATE INDEX keys_that_expire ON keys (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE commit_log (
        commit_id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        operation TEXT NOT NULL
    );
    CREATE INDEX enrollments ON keys (key) WHERE instr(key, '.new.enrollments.__manage@') > 0;
    CREATE TABLE visits (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, at_sign TEXT, verb TEXT NOT NULL, key TEXT);
";

/// Frames in the write-ahead log before it is written back: 1 MiB.
pub(super) const CHECKPOINT_FRAMES: u32 = 256;

/// The log's file is cut back to this after something large went through it.
const LOG_KEPT: u32 = 4 << 20;

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not the store that it must be.
    #[error("{path} is damaged: {reason}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version of this server wrote it.
    #[error("{path} has schema {found}, and this version knows {SCHEMA} at most: start a newer version", path = .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// It holds somebody else's data.
    #[error("{path} holds the data of {found}", path = .path.display())]
    OtherAtSign {
        /// The file.
        path: PathBuf,
        /// Whose.
        found: String,
    },
    /// The volume did not answer as it must.
    #[error("{path}: {source}", path = .path.display())]
    Volume {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl OpenError {
    fn of_io(path: &Path, error: io::Error) -> Self {
        let source = rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        Self::Volume { path: path.to_owned(), source }
    }

    fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, reason: error.to_string() }
            }
            _ => Self::Volume { path, source: error },
        }
    }
}

impl Database {
    /// Makes an empty store for an atSign in a folder. On disk when it returns.
    pub fn create(folder: &Path, at_sign: &str) -> Result<(), OpenError> {
        let path = folder.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let make = || {
            let mut connection = connect(&path, flags, 64)?;
            let transaction = connection.transaction()?;
            transaction.execute_batch(CREATE)?;
            transaction.execute_batch(super::notifications::CREATE)?;
            transaction.execute("INSERT INTO meta VALUES ('atSign', ?1)", [at_sign])?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
            close(connection)
        };
        make().map_err(|source| OpenError::Volume { path: path.clone(), source })
    }

    /// Opens the store of an atSign that exists; never makes one. `cache_kib`: of the page cache.
    pub fn open(folder: &Path, at_sign: &str, cache_kib: u32) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let failed = |error| OpenError::of(&path, error);
        if matches!(fs::metadata(&path), Err(error) if error.kind() == io::ErrorKind::NotFound) {
            return Err(OpenError::Damaged { path, reason: "it is missing".to_owned() });
        }
        let damaged = |reason| OpenError::Damaged { path: path.clone(), reason };
        let log = match wal::inspect(&path.with_file_name(LOG)) {
            Ok(log) => log.map_err(damaged)?,
            Err(source) => return Err(OpenError::of_io(&path, source)),
        };
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, cache_kib).map_err(failed)?;
        let found: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match found {
            SCHEMA => {}
            // An empty file is a valid, empty database; it is not one that we made.
            0 => return Err(OpenError::Damaged { path, reason: "there is no store in it".to_owned() }),
            found if found > SCHEMA => return Err(OpenError::Newer { path, found }),
            found => return Err(OpenError::Damaged { path, reason: format!("its schema is {found}") }),
        }
        let owner: String = connection
            .query_row("SELECT value FROM meta WHERE name = 'atSign'", [], |row| row.get(0))
            .map_err(failed)?;
        if owner != at_sign {
            return Err(OpenError::OtherAtSign { path, found: owner });
        }
        let last: i64 = connection
            .query_row("SELECT coalesce(max(commit_id), -1) FROM commit_log", [], |row| row.get(0))
            .map_err(failed)?;
        let floor: i64 = connection
            .query_row(
                "SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE name = ?1",
                [FLOOR],
                |row| row.get(0),
            )
            .map_err(failed)?;
        let next = floor.max(last + 1);
        let activated = connection
            .query_row("SELECT EXISTS (SELECT 1 FROM keys WHERE key = ?1)", [PKAM_PUBLIC_KEY], |row| {
                row.get(0)
            })
            .map_err(failed)?;
        let counts = Counts { next, keys: None, deleted: false, posted: 0, activated };
        let database = Self { connection, path, counts, at_begin: counts, held: 0, quota: Arc::default() };
        if log == Log::Unfinished {
            database.empty_log().map_err(|error| OpenError::of(&database.path, error))?;
        }
        Ok(database)
    }

    /// Checks every page, and with `indexes` that they hold what the tables hold.
    pub(crate) fn check(&self, indexes: bool) -> Result<(), OpenError> {
        let question = if indexes { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
        let verdict: String = self
            .connection
            .query_row(question, [], |row| row.get(0))
            .map_err(|error| OpenError::of(&self.path, error))?;
        if verdict != "ok" {
            return Err(OpenError::Damaged { path: self.path.clone(), reason: verdict });
        }
        Ok(())
    }

    /// Closes the store: its log is written back, and all of it is on disk when this returns.
    pub fn close(self) -> Result<(), OpenError> {
        let path = self.path;
        close(self.connection).map_err(|source| OpenError::Volume { path: path.clone(), source })?;
        let on_disk =
            fs::File::open(&path).and_then(|file| file.sync_all()).and_then(|()| match path.parent() {
                Some(folder) => sync_directory(folder),
                None => Ok(()),
            });
        on_disk.map_err(|error| OpenError::of_io(&path, error))
    }

    /// The last commit id that a store ever gave, read without changing anything in its folder. It may be damaged.
    pub(crate) fn last_commit_in(folder: &Path) -> Result<i64, rusqlite::Error> {
        let connection = connect(&folder.join(FILE), OpenFlags::SQLITE_OPEN_READ_WRITE, 64)?;
        connection.query_row(
            "SELECT max((SELECT coalesce(max(commit_id), -1) FROM commit_log),
                        (SELECT coalesce(max(CAST(value AS INTEGER)), 0) - 1 FROM meta WHERE name = ?1))",
            [FLOOR],
            |row| row.get(0),
        )
    }

    /// Makes the store one of an atSign whose commit ids go on from `next` at least.
    pub(crate) fn adopt(&mut self, at_sign: &str, next: i64) -> Result<(), rusqlite::Error> {
        self.counts.next = self.counts.next.max(next);
        let transaction = self.connection.transaction()?;
        transaction.execute("INSERT OR REPLACE INTO meta VALUES ('atSign', ?1)", [at_sign])?;
        transaction
            .execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", (FLOOR, self.counts.next.to_string()))?;
        transaction.commit()
    }
}

/// Writes the log back and removes it. A connection that is merely dropped writes nothing: it may be one that failed,
/// or whose store is somebody else's by now.
fn close(connection: Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.close().map_err(|(_, error)| error)
}

/// Opens a connection with the settings of DESIGN.md section 6. No file locks (NFS may lack them or leave them
/// behind; the epochs see to it that there is one writer), hence no shared memory file either.
fn connect(path: &Path, flags: OpenFlags, cache_kib: u32) -> Result<Connection, rusqlite::Error> {
    let connection =
        Connection::open_with_flags_and_vfs(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX, c"unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_FRAMES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// The epochs' view of a data folder.
#[derive(Clone, Debug)]
pub struct Files {
    /// Whose data it is.
    pub at_sign: String,
}

impl Contents for Files {
    const FILES: &'static [&'static str] = &[FILE, LOG];

    fn create(&self, folder: &Path) -> Result<(), TakeoverError> {
        Ok(Database::create(folder, &self.at_sign)?)
    }

    fn check(&self, folder: &Path) -> Result<(), TakeoverError> {
        let copy = Database::open(folder, &self.at_sign, 64)?;
        copy.check(false)?;
        copy.close()?;
        Ok(sync_directory(folder)?)
    }
}

impl From<OpenError> for TakeoverError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged { .. } => Self::Damaged(error.to_string()),
            OpenError::Newer { .. } | OpenError::OtherAtSign { .. } => Self::Unsuitable(error.to_string()),
            OpenError::Volume { .. } => Self::Io(std::io::Error::other(error.to_string())),
        }
    }
}
