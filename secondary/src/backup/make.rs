//! A backup of a store that is in use.
//!
//! The store's thread is asked three short things: to let its file stand still and write to its log alone, how long
//! the log is, and to go on. Between them this copies the file and then so much of the log, which is every change up to
//! a moment. What is copied is made one file, checked in full, counted, and only then given a name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use atsign_protocol::backup::FORMAT;
use tokio::sync::oneshot;

use super::{CHUNK, FOLDER, MANIFEST, Manifest, folder_of, name, sha256, tidy};
use crate::epoch::copy::{Copied, copy};
use crate::epoch::volume::{Mounted, sync_directory};
use crate::store::database::{Database, DatabaseError};
use crate::store::file::{FILE, LOG, OpenError};
use crate::store::{SqliteStore, StoreError};

/// So often it is begun anew where the store could not stand still for so long.
const TRIES: u32 = 3;

/// Stack of the thread that copies and checks.
const STACK: usize = 256 * 1024;

/// SQLite's page cache while the copy is checked.
const CACHE_KIB: u32 = 64;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The volume is too small.
    #[error("the volume has no room: the copy needs {needed} bytes and {available} are left")]
    NoRoom {
        /// Bytes of the copy.
        needed: u64,
        /// Bytes left.
        available: u64,
    },
    /// The store did not stand still long enough.
    #[error(
        "the store changes faster than it can be copied, or its volume failed meanwhile: try again later"
    )]
    Restless,
    /// What was copied is not sound, so the store is not.
    #[error("the copy does not pass its check: {0}")]
    Damaged(#[from] OpenError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The volume.
    #[error("the volume: {0}")]
    Io(#[from] io::Error),
    /// Counting what is in the copy.
    #[error("the copy cannot be read: {0}")]
    Unreadable(#[from] DatabaseError),
}

/// Makes a backup and removes the oldest ones but `kept`, this one included.
pub async fn make(
    store: &SqliteStore,
    storage: &Path,
    at_sign: &str,
    kept: usize,
) -> Result<Manifest, BackupError> {
    let folder = storage.join(FOLDER);
    let name = name(jiff::Timestamp::now());
    let unfinished = folder.join(format!(".new-{name}"));
    let work = unfinished.clone();
    apart(move || begin(&folder, &work)).await?;
    let mut tries = 0;
    loop {
        tries += 1;
        let by = uuid::Uuid::new_v4().as_u64_pair().0 | 1;
        let source = store.hold_log(by).await?;
        let copied = copy_held(store, source, unfinished.clone()).await;
        let held = store.let_log_go(by).await?;
        match copied? {
            Copied::NoRoom { needed, available } => {
                return Err(BackupError::NoRoom { needed, available });
            }
            Copied::Whole if held => break,
            _ if tries == TRIES => return Err(BackupError::Restless),
            _ => {}
        }
    }
    let (storage, at_sign, epoch) = (storage.to_owned(), at_sign.to_owned(), store.state().epoch());
    apart(move || finish(&storage, &unfinished, &at_sign, epoch, name, kept)).await
}

/// Copies file and log while the file stands still.
async fn copy_held(store: &SqliteStore, source: PathBuf, target: PathBuf) -> Result<Copied, BackupError> {
    let (from, to) = (source.clone(), target.clone());
    let copied = apart(move || Ok(copy(&Mounted, &from, &to, &[FILE], &|| false)?)).await?;
    if copied != Copied::Whole {
        return Ok(copied);
    }
    let length = store.log_length().await?;
    apart(move || Ok(copy_beginning(&source.join(LOG), &target.join(LOG), length)?)).await?;
    Ok(Copied::Whole)
}

/// Does what waits for the volume on a thread of its own.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("backup".to_owned()).stack_size(STACK).spawn(move || {
        // Nobody waits for it any more where the process ends.
        let _ = sender.send(work());
    })?;
    receiver.await.map_err(|_| io::Error::other("the thread of the backup ended"))?
}

/// Makes the folder of a new backup, and removes those that were never finished.
fn begin(folder: &Path, unfinished: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".new-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(fs::create_dir(unfinished)?)
}

/// Copies the first bytes of a file, all of which must be there.
fn copy_beginning(source: &Path, target: &Path, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let mut from = File::open(source)?.take(length);
    let mut to = File::create(target)?;
    let mut chunk = vec![0; CHUNK];
    let mut copied = 0;
    while copied < length {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the log is shorter than it was"));
        }
        to.write_all(&chunk[..count])?;
        copied += count as u64;
    }
    to.sync_all()
}

/// Makes one file of the two, checks it, writes the manifest and gives the backup its name.
fn finish(
    storage: &Path,
    unfinished: &Path,
    at_sign: &str,
    epoch: u64,
    name: String,
    kept: usize,
) -> Result<Manifest, BackupError> {
    let database = Database::open(unfinished, at_sign, CACHE_KIB)?;
    database.check(true)?;
    let (counts, commit_id) = (database.count_all()?, database.last_commit(None)?);
    database.close()?;
    let file = unfinished.join(FILE);
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at_sign: at_sign.to_owned(),
        epoch,
        commit_id,
        counts,
        bytes: fs::metadata(&file)?.len(),
        sha256: sha256(&file)?,
        name,
    };
    let mut json = File::create(unfinished.join(MANIFEST))?;
    json.write_all(&serde_json::to_vec_pretty(&manifest).map_err(io::Error::from)?)?;
    json.sync_all()?;
    sync_directory(unfinished)?;
    fs::rename(unfinished, folder_of(storage, &manifest.name))?;
    sync_directory(&storage.join(FOLDER))?;
    if let Err(error) = tidy(storage, kept) {
        tracing::warn!(%error, "older backups were not removed; the next one tries again");
    }
    Ok(manifest)
}
