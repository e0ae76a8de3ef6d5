//! A restore: the store becomes what a backup holds.
//!
//! The backup is copied into a data folder of the restore's own epoch, and the copy is what is checked, so a backup that
//! changes meanwhile does no harm. Until the epoch is complete, the store is what it was.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use atsign_protocol::backup::Counts;
use rustix::fs::statvfs;
use sha2::{Digest, Sha256};

use super::{CHUNK, FOLDER, Manifest, hex, is_name, list, manifest_line, manifest_of, sha256};
use crate::epoch::files::EpochFiles;
use crate::epoch::replace::ReplaceError;
use crate::epoch::takeover::Progress;
use crate::epoch::{Claimant, TakeoverError, Term};
use crate::store::database::{Database, DatabaseError};
use crate::store::file::{FILE, Files, OpenError};

/// SQLite's page cache while the copy is checked.
const CACHE_KIB: u32 = 64;

/// Commit ids go on so far above the backup's where nobody knows which ones were given after it: clients ask for what
/// is new by the highest id that they have seen.
const UNKNOWN: i64 = 1_000_000;

/// What is to be restored, and where.
pub struct Restore {
    /// The storage directory: it exists.
    pub storage: PathBuf,
    /// Whose store it becomes, with its `@`.
    pub at_sign: String,
    /// `latest`, the name of a backup in the storage directory, a backup's folder, or a backup file; `-` is one on
    /// standard input.
    pub from: String,
    /// Whether the backup may be another atSign's.
    pub force: bool,
    /// Who restores: the pod's UID, or the machine's boot id.
    pub holder: String,
    /// The times of the lease.
    pub term: Term,
    /// Is told what is waited for.
    pub report: Box<dyn FnMut(Progress) + Send>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The backup.
    pub manifest: Manifest,
    /// The first commit id that will be given.
    pub next_commit_id: i64,
    /// The epoch that the restore made and released.
    pub epoch: u64,
}

/// Why the store is what it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such backup.
    #[error("{what}: {reason}")]
    NoBackup {
        /// What was asked for.
        what: String,
        /// What is wrong.
        reason: io::Error,
    },
    /// It is somebody else's.
    #[error("the backup is of {found}, not of {expected}; --force restores it nevertheless")]
    OtherAtSign {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// It is not what its manifest says.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The volume is too small.
    #[error("the volume has no room: the restore needs {needed} bytes and {available} are left")]
    NoRoom {
        /// Bytes of the backup.
        needed: u64,
        /// Bytes left.
        available: u64,
    },
    /// A server has the store.
    #[error("{0}")]
    InUse(String),
    /// The storage directory.
    #[error(transparent)]
    Storage(#[from] TakeoverError),
    /// The volume.
    #[error("the volume: {0}")]
    Io(#[from] io::Error),
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Volume { source, .. } => Self::Io(io::Error::other(source.to_string())),
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<DatabaseError> for RestoreError {
    fn from(error: DatabaseError) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<rusqlite::Error> for RestoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Io(io::Error::other(error.to_string()))
    }
}

/// Restores a backup. The next server starts with it at once.
pub fn restore(request: Restore) -> Result<Restored, RestoreError> {
    let Restore { storage, at_sign, from, force, holder, term, report } = request;
    let Source { name, folder, manifest, mut content } = open(&storage, &from)?;
    if manifest.at_sign != at_sign && !force {
        return Err(RestoreError::OtherAtSign { found: manifest.at_sign, expected: at_sign });
    }
    // Before an epoch is taken, for one that is given up makes the next server wait for the term. What comes as a stream
    // can be read once only.
    if let Some(file) = folder.map(|folder| folder.join(FILE)) {
        compare(&name, &manifest, &(fs::metadata(&file)?.len(), sha256(&file)?))?;
    }
    room_for(&manifest, &storage)?;
    let mut claimant = Claimant {
        files: EpochFiles::open(&storage)?,
        at_sign: at_sign.clone(),
        holder,
        term,
        contents: Files { at_sign: at_sign.clone() },
        dead: Box::new(Vec::new),
        report,
    };
    let mut next_commit_id = 0;
    let holding = claimant
        .replace(|folder, predecessor| {
            room_for(&manifest, folder)?;
            compare(&name, &manifest, &copy(&name, &mut content, manifest.bytes, &folder.join(FILE))?)?;
            next_commit_id = adopt(folder, predecessor, &manifest, &at_sign)?;
            Ok(())
        })
        .map_err(|error| match error {
            ReplaceError::Filling(error) => error,
            ReplaceError::Takeover(error) => error.into(),
            error @ ReplaceError::InUse { .. } => RestoreError::InUse(error.to_string()),
        })?;
    let epoch = holding.number();
    // What is left behind takes room; the next server removes it where this fails.
    let _ = holding.tidy();
    holding.release()?;
    Ok(Restored { manifest, next_commit_id, epoch })
}

/// A backup that can be read.
struct Source {
    /// What it is called.
    name: String,
    /// Its folder; `None` for one that is read once, from its beginning to its end.
    folder: Option<PathBuf>,
    manifest: Manifest,
    /// The store's file, and what may stand behind it.
    content: Box<dyn Read>,
}

impl Source {
    /// One that stands behind its manifest.
    fn of_file(name: String, mut file: impl BufRead + 'static) -> Result<Self, RestoreError> {
        match manifest_line(&mut file) {
            Ok(manifest) => Ok(Self { name, folder: None, manifest, content: Box::new(file) }),
            Err(reason) => Err(RestoreError::NoBackup { what: name, reason }),
        }
    }
}

fn open(storage: &Path, from: &str) -> Result<Source, RestoreError> {
    if from == "-" {
        return Source::of_file("standard input".to_owned(), io::stdin().lock());
    }
    let path = find(storage, from)?;
    let name = path.display().to_string();
    let none = |reason| RestoreError::NoBackup { what: name.clone(), reason };
    if path.is_file() {
        let file = File::open(&path).map_err(none)?;
        return Source::of_file(name, BufReader::new(file));
    }
    let manifest = manifest_of(&path).map_err(none)?;
    let content = Box::new(File::open(path.join(FILE)).map_err(none)?);
    Ok(Source { name, folder: Some(path), manifest, content })
}

/// Where a backup is.
fn find(storage: &Path, from: &str) -> Result<PathBuf, RestoreError> {
    let none = |reason: &str| RestoreError::NoBackup {
        what: from.to_owned(),
        reason: io::Error::new(io::ErrorKind::NotFound, reason),
    };
    if from == "latest" {
        let names = list(storage)?;
        let last = names.last().ok_or_else(|| none("there is no backup in the storage directory"))?;
        return Ok(storage.join(FOLDER).join(last));
    }
    let path = if is_name(from) { storage.join(FOLDER).join(from) } else { PathBuf::from(from) };
    if path.exists() { Ok(path) } else { Err(none("there is no such backup")) }
}

/// Checks the new store, makes it this atSign's, and returns the next commit id.
fn adopt(
    folder: &Path,
    predecessor: Option<&Path>,
    manifest: &Manifest,
    at_sign: &str,
) -> Result<i64, RestoreError> {
    let mut database = Database::open(folder, &manifest.at_sign, CACHE_KIB)?;
    database.check(true)?;
    let found: Counts = database.count_all()?;
    if found != manifest.counts {
        let expected = manifest.counts;
        return Err(RestoreError::Damaged(format!("it holds {found:?}, its manifest says {expected:?}")));
    }
    let next = predecessor
        .and_then(|folder| Database::last_commit_in(folder).ok())
        .map_or(manifest.commit_id + UNKNOWN, |last| last.max(manifest.commit_id))
        + 1;
    database.adopt(at_sign, next)?;
    let next = database.next_commit_id();
    database.close()?;
    Ok(next)
}

fn room_for(manifest: &Manifest, folder: &Path) -> Result<(), RestoreError> {
    let volume = statvfs(folder).map_err(io::Error::from)?;
    let (needed, available) = (manifest.bytes, volume.f_bavail.saturating_mul(volume.f_frsize));
    if available < needed { Err(RestoreError::NoRoom { needed, available }) } else { Ok(()) }
}

fn compare(name: &str, manifest: &Manifest, found: &(u64, String)) -> Result<(), RestoreError> {
    if (found.0, &found.1) == (manifest.bytes, &manifest.sha256) {
        return Ok(());
    }
    let Manifest { bytes, sha256, .. } = manifest;
    Err(RestoreError::Damaged(format!(
        "{name}: the store has {} bytes and the checksum {}, the manifest says {bytes} and {sha256}",
        found.0, found.1
    )))
}

/// Copies so many bytes, or what there is, into a file, and returns their number and SHA-256. On disk when it returns.
fn copy(name: &str, from: &mut dyn Read, bytes: u64, target: &Path) -> Result<(u64, String), RestoreError> {
    let mut from = from.take(bytes);
    let mut to = File::create_new(target)?;
    let (mut digest, mut length) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk);
        let count = read.map_err(|reason| RestoreError::NoBackup { what: name.to_owned(), reason })?;
        if count == 0 {
            break;
        }
        digest.update(&chunk[..count]);
        to.write_all(&chunk[..count])?;
        length += count as u64;
    }
    to.sync_all()?;
    Ok((length, hex(&digest.finalize())))
}
