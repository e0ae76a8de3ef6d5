//! What the protocol asks of a machine: a volume that other machines share, and a clock.
//!
//! [`Mounted`] is the machine we run on. The tests have another: a simulation of several machines and an NFS server with
//! all that NFS may do, in which every order of events is tried on the very code that runs here.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FlockOperation, flock, linkat, statvfs};

use super::block::{BlockFile, Blocks};
use super::copy::{Stamp, copy_file, stamp};
use super::decision::FolderLock;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; made where it is missing, never truncated.
    Create,
}

/// An open file that is read and written in blocks, past the page cache.
pub trait Blockwise: fmt::Debug + Send {
    /// Fills `blocks` from block number `first` on; less where the file ends before. Answers with the bytes read.
    fn read(&self, first: usize, blocks: &mut Blocks) -> io::Result<usize>;
    /// Writes `blocks` at block number `first`. Seen by every reader when it returns; on disk only after [`Self::sync`].
    fn write(&self, first: usize, blocks: &Blocks) -> io::Result<()>;
    /// Makes the file at least one block long, without touching what is in it.
    fn extend_to_one_block(&self) -> io::Result<()>;
    /// Waits until all of it is on disk.
    fn sync(&self) -> io::Result<()>;
}

/// A volume as this machine sees it, and this machine's clock.
pub trait Volume: Clone + fmt::Debug {
    /// An open file.
    type File: Blockwise;
    /// A lock that is held until it is dropped, or its process ends.
    type Lock: fmt::Debug;

    /// Opens a file past the page cache.
    fn open(&self, path: &Path, how: Open) -> io::Result<Self::File>;
    /// Gives a file a second name, which must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and all in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder. It may be as old as this machine's cache.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Waits until the names in a folder are on disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Tries to lock a folder that exists, against other processes of this machine.
    fn lock(&self, folder: &Path) -> io::Result<FolderLock<Self::Lock>>;
    /// What a copy compares of a file before and after; `None` where there is none.
    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>>;
    /// Copies a file to one that does not exist. On disk when it returns; false where `stop` ended it.
    fn copy(&self, source: &Path, target: &Path, stop: &dyn Fn() -> bool) -> io::Result<bool>;
    /// Bytes that are left for a folder's files.
    fn room(&self, folder: &Path) -> io::Result<u64>;

    /// Time since this machine started, sleep included. The only clock that the protocol reads.
    fn boottime(&self) -> Duration;
    /// What a clock on the wall says, Unix seconds: for people who read when an epoch was taken. Nothing is decided by it.
    fn unix_seconds(&self) -> i64;
    /// Lets time pass.
    fn sleep(&self, time: Duration);
    /// A word that nobody else has.
    fn token(&self) -> String;
    /// Does `work`, and beside it `beat`, every so often.
    fn beside<T>(
        &self,
        every: Duration,
        beat: impl FnMut() + Send,
        work: impl FnOnce() -> T,
    ) -> io::Result<T>;
}

/// The machine we run on, and what it has mounted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mounted;

impl Volume for Mounted {
    type File = BlockFile;
    type Lock = File;

    fn open(&self, path: &Path, how: Open) -> io::Result<BlockFile> {
        BlockFile::open(path, how)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(linkat(CWD, from, CWD, to, AtFlags::empty())?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        sync_directory(path)
    }

    fn lock(&self, folder: &Path) -> io::Result<FolderLock<File>> {
        let path = folder.join("lock");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(FolderLock::Held(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(FolderLock::Busy),
            Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                Ok(FolderLock::Unsupported)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        stamp(path)
    }

    fn copy(&self, source: &Path, target: &Path, stop: &dyn Fn() -> bool) -> io::Result<bool> {
        copy_file(source, target, stop)
    }

    fn room(&self, folder: &Path) -> io::Result<u64> {
        let volume = statvfs(folder)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn boottime(&self) -> Duration {
        super::boottime()
    }

    fn unix_seconds(&self) -> i64 {
        jiff::Timestamp::now().as_second()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn token(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    fn beside<T>(
        &self,
        every: Duration,
        mut beat: impl FnMut() + Send,
        work: impl FnOnce() -> T,
    ) -> io::Result<T> {
        std::thread::scope(|scope| {
            // Dropping the sender at the end of `work` ends the thread.
            let (working, ended) = channel::<()>();
            std::thread::Builder::new().name("renewal".to_owned()).stack_size(64 * 1024).spawn_scoped(
                scope,
                move || {
                    while matches!(ended.recv_timeout(every), Err(RecvTimeoutError::Timeout)) {
                        beat();
                    }
                },
            )?;
            let done = work();
            drop(working);
            Ok(done)
        })
    }
}

/// Waits until the names in a directory are on disk.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // A file system that cannot do it has nothing to wait for.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
