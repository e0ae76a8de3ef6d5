//! The SQLite file: its schema, and each change and question as one function. Nothing here waits or decides when.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use atsign_protocol::Metadata;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{Change, Operation, Page, Record};
use crate::epoch::files::sync_directory;
use crate::epoch::{Contents, TakeoverError};

/// Name of the file in a data folder.
pub const FILE: &str = "store.db";

/// Version of the schema, in the file's `user_version`.
const SCHEMA: i64 = 1;

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
";

/// Frames in the write-ahead log before it is written back: 1 MiB.
const CHECKPOINT_FRAMES: u32 = 256;

/// The log's file is cut back to this after something large went through it.
const LOG_KEPT: u32 = 4 << 20;

/// Keys deleted in one transaction when they expire.
pub const EXPIRED_AT_ONCE: u32 = 64;

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

/// Why a change or a question had no answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It is against the rules.
    #[error("{0}")]
    Refused(String),
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What is stored cannot be read.
    #[error("the metadata of a key cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// An open store.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
    /// The next commit id.
    next: i64,
    /// Number of keys, once somebody asked.
    keys: Option<u64>,
    /// `next` and `keys` as they were when the transaction, and when the change, began.
    at_begin: (i64, Option<u64>),
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
            transaction.execute("INSERT INTO meta VALUES ('atSign', ?1)", [at_sign])?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
            connection.close().map_err(|(_, error)| error)
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
        let next = last + 1;
        Ok(Self { connection, path, next, keys: None, at_begin: (next, None) })
    }

    /// Checks every page, and writes the log back.
    fn check(self) -> Result<(), OpenError> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| OpenError::of(&self.path, error))?;
        if verdict != "ok" {
            return Err(OpenError::Damaged { path: self.path, reason: verdict });
        }
        self.connection.close().map_err(|(_, error)| OpenError::of(&self.path, error))
    }

    /// Closes the store: its log is written back, and all of it is on disk when this returns.
    pub fn close(self) -> Result<(), OpenError> {
        let path = self.path;
        self.connection.close().map_err(|(_, source)| OpenError::Volume { path: path.clone(), source })?;
        let on_disk =
            fs::File::open(&path).and_then(|file| file.sync_all()).and_then(|()| match path.parent() {
                Some(folder) => sync_directory(folder),
                None => Ok(()),
            });
        on_disk.map_err(|error| OpenError::Volume {
            path,
            source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
        })
    }

    /// Whether a transaction is open. SQLite ends one by itself after some errors.
    pub fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Begins the transaction of a group.
    pub fn begin(&mut self) -> Result<(), rusqlite::Error> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.at_begin = (self.next, self.keys);
        Ok(())
    }

    /// Ends it. On disk when it returns.
    pub fn commit(&mut self) -> Result<(), rusqlite::Error> {
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Undoes it.
    pub fn rollback(&mut self) {
        (self.next, self.keys) = self.at_begin;
        if self.in_transaction() {
            // Where even this fails the connection is given up by whoever saw the first error.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Does one change of a group, whole or not at all, without touching its neighbours.
    pub fn alone<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let before = (self.next, self.keys);
        self.connection.prepare_cached("SAVEPOINT one")?.execute([])?;
        let done = work(self);
        if done.is_err() && self.in_transaction() {
            (self.next, self.keys) = before;
            self.connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
        }
        if self.in_transaction() {
            self.connection.prepare_cached("RELEASE one")?.execute([])?;
        }
        done
    }

    /// Applies a change and returns its commit id, -1 where there is none.
    pub fn apply(&mut self, change: &Change, now: i64) -> Result<i64, DatabaseError> {
        match change {
            Change::Put { key, value, metadata, operation, committed, by } => {
                let stored = self.metadata(key)?;
                let existing = stored.as_ref().filter(|metadata| !metadata.is_expired(now));
                let metadata = metadata
                    .apply(existing, by, now)
                    .map_err(|refusal| DatabaseError::Refused(refusal.to_string()))?;
                self.write(key, value.as_deref(), existing.is_some() && value.is_none(), &metadata)?;
                if stored.is_none() {
                    self.keys = self.keys.map(|keys| keys + 1);
                }
                self.log(key, *operation, *committed)
            }
            Change::Delete { key, committed } => {
                self.remove(key)?;
                self.log(key, Operation::Delete, *committed)
            }
        }
    }

    fn write(
        &self,
        key: &str,
        value: Option<&str>,
        keep: bool,
        metadata: &Metadata,
    ) -> Result<(), DatabaseError> {
        let json = serde_json::to_string(metadata)?;
        let (available, expires) = (metadata.available_at, metadata.expires_at);
        if keep {
            self.connection
                .prepare_cached(
                    "UPDATE keys SET available_at = ?2, expires_at = ?3, metadata = ?4 WHERE key = ?1",
                )?
                .execute(params![key, available, expires, json])?;
        } else {
            self.connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO keys (key, available_at, expires_at, metadata, value)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![key, available, expires, json, value])?;
        }
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), DatabaseError> {
        let removed = self.connection.prepare_cached("DELETE FROM keys WHERE key = ?1")?.execute([key])?;
        self.keys = self.keys.map(|keys| keys.saturating_sub(removed as u64));
        Ok(())
    }

    fn log(&mut self, key: &str, operation: Operation, committed: bool) -> Result<i64, DatabaseError> {
        if !committed {
            return Ok(-1);
        }
        let id = self.next;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO commit_log (commit_id, key, operation) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![id, key, sign(operation)])?;
        self.next += 1;
        Ok(id)
    }

    fn metadata(&self, key: &str) -> Result<Option<Metadata>, DatabaseError> {
        let mut statement = self.connection.prepare_cached("SELECT metadata FROM keys WHERE key = ?1")?;
        let json: Option<String> = statement.query_row([key], |row| row.get(0)).optional()?;
        json.map(|json| serde_json::from_str(&json).map_err(DatabaseError::from)).transpose()
    }

    /// Reads one key, whether active or not.
    pub fn get(&self, key: &str) -> Result<Option<Record>, DatabaseError> {
        let mut statement =
            self.connection.prepare_cached("SELECT value, metadata FROM keys WHERE key = ?1")?;
        let found: Option<(Option<String>, String)> =
            statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((value, metadata)) = found else { return Ok(None) };
        Ok(Some(Record { value, metadata: serde_json::from_str(&metadata)? }))
    }

    /// One page of the names that are active at `now`.
    pub fn scan(&self, page: &Page, now: i64) -> Result<Vec<String>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key FROM keys
             WHERE key > ?1 AND key >= ?2 AND key < ?3
               AND (available_at IS NULL OR available_at <= ?4) AND (expires_at IS NULL OR expires_at > ?4)
             ORDER BY key LIMIT ?5",
        )?;
        let after = page.after.as_deref().unwrap_or("");
        let end = format!("{}{}", page.prefix, char::MAX);
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, page.prefix, end, now, limit], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The id of the last entry in the commit log whose key matches; -1 for none.
    pub fn last_commit(&self, matches: Option<&str>) -> Result<i64, DatabaseError> {
        let Some(pattern) = matches else { return Ok(self.next - 1) };
        let pattern = regex_lite::Regex::new(pattern)
            .map_err(|error| DatabaseError::Refused(format!("invalid regular expression: {error}")))?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT commit_id, key FROM commit_log ORDER BY commit_id DESC")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if pattern.is_match(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?) {
                return Ok(row.get(0)?);
            }
        }
        Ok(-1)
    }

    /// Number of keys, and bytes of the files.
    pub fn size(&mut self) -> Result<(u64, u64), DatabaseError> {
        let keys = if let Some(keys) = self.keys {
            keys
        } else {
            let count: i64 = self.connection.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?;
            let keys = count.unsigned_abs();
            self.keys = Some(keys);
            keys
        };
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let log = self.path.with_file_name(format!("{FILE}-wal"));
        Ok((keys, length(&self.path) + length(&log)))
    }

    /// When the next key expires, Unix milliseconds.
    pub fn next_expiry(&self) -> Result<Option<i64>, DatabaseError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT min(expires_at) FROM keys WHERE expires_at IS NOT NULL")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Deletes keys that have expired at `now`, [`EXPIRED_AT_ONCE`] at most; those that are in the commit log get an
    /// entry there.
    pub fn expire(&mut self, now: i64) -> Result<usize, DatabaseError> {
        let due: Vec<(String, bool)> = self
            .connection
            .prepare_cached(
                "SELECT key, EXISTS (SELECT 1 FROM commit_log WHERE commit_log.key = keys.key)
                 FROM keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2",
            )?
            .query_map(params![now, EXPIRED_AT_ONCE], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (key, committed) in &due {
            self.remove(key)?;
            self.log(key, Operation::Delete, *committed)?;
        }
        Ok(due.len())
    }

    /// Writes the whole log back. After a failed fsync the kernel may call pages clean that never reached the disk;
    /// writing them anew is the only way to know.
    pub fn write_back(&mut self) -> Result<(), DatabaseError> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Writes something that changes nothing, to see whether the volume takes it again.
    pub fn probe(&mut self) -> Result<(), DatabaseError> {
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('probe', '')", [])?;
        Ok(())
    }
}

fn sign(operation: Operation) -> &'static str {
    match operation {
        Operation::Update => "+",
        Operation::UpdateMeta => "#",
        Operation::UpdateAll => "*",
        Operation::Delete => "-",
    }
}

/// Opens a connection with the settings of DESIGN.md section 6. No file locks (NFS may lack them or leave them
/// behind; the epochs see to it that there is one writer), hence no shared memory file either.
fn connect(path: &Path, flags: OpenFlags, cache_kib: u32) -> Result<Connection, rusqlite::Error> {
    let connection =
        Connection::open_with_flags_and_vfs(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX, c"unix-none")?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_FRAMES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    connection.set_prepared_statement_cache_capacity(24);
    Ok(connection)
}

/// The epochs' view of a data folder.
#[derive(Clone, Debug)]
pub struct Files {
    /// Whose data it is.
    pub at_sign: String,
}

impl Contents for Files {
    const FILES: &'static [&'static str] = &[FILE, "store.db-wal"];

    fn create(&self, folder: &Path) -> Result<(), TakeoverError> {
        Ok(Database::create(folder, &self.at_sign)?)
    }

    fn check(&self, folder: &Path) -> Result<(), TakeoverError> {
        Database::open(folder, &self.at_sign, 64)?.check()?;
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
