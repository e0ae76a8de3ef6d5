//! The copy of a predecessor's store, taken beside a writer that may not know yet that it was replaced.
//!
//! A copy beside a running writer is worthless (it was corrupt every time it was tried), so one is accepted only if
//! nothing of the source changed between a look before and a look after, and if the copy then passes its check.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Advice, AtFlags, CWD, StatxFlags, fadvise, statx};

use super::block::{BlockFile, Blocks};
use super::volume::{Blockwise, Open, Volume};

/// Blocks read at a time: 64 KiB, so that the copy fits beside a server in 6 MiB.
const CHUNK: usize = 16;

/// Bytes written before they are waited for and dropped from the page cache.
const UNSYNCED: u64 = 1 << 20;

/// What is compared before and after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was written, seconds and nanoseconds by the clock of the volume.
    pub modified: (i64, u32),
    /// When it was written or renamed.
    pub changed: (i64, u32),
    /// The first bytes: the header of a write-ahead log holds its salts.
    pub head: Vec<u8>,
}

/// How a copy ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Copied {
    /// The source stood still; the copy is on disk.
    Whole,
    /// Somebody changed the source meanwhile; the copy is worth nothing.
    Moved,
    /// There is no room for it.
    NoRoom {
        /// Bytes of the source.
        needed: u64,
        /// Bytes left on the volume.
        available: u64,
    },
    /// `stop` said so.
    Stopped,
}

/// Copies the store from one folder to another: the files `names`, of which the first must exist. `stop` is asked between
/// chunks.
///
/// The others are made where they are missing, empty, which says the same as their absence. Looking is not enough: a
/// machine that once removed such a file remembers for up to a minute that it is not there, whatever another machine has
/// written to it since; only a call that may create it asks the server.
pub fn copy<V: Volume>(
    volume: &V,
    source: &Path,
    target: &Path,
    names: &[&str],
    stop: &dyn Fn() -> bool,
) -> io::Result<Copied> {
    for name in &names[1..] {
        volume.open(&source.join(name), Open::Create)?;
    }
    let stamps = || names.iter().map(|name| volume.stamp(&source.join(name))).collect::<io::Result<Vec<_>>>();
    let before = stamps()?;
    let needed = before.iter().flatten().map(|stamp| stamp.size).sum();
    let available = volume.room(target)?;
    if available < needed {
        return Ok(Copied::NoRoom { needed, available });
    }
    for (name, stamp) in names.iter().zip(&before) {
        let copy = target.join(name);
        match volume.remove(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if stamp.is_none() {
            continue;
        }
        match volume.copy(&source.join(name), &copy, stop) {
            Ok(true) => {}
            Ok(false) => return Ok(Copied::Stopped),
            // Gone, or replaced on the server: the source moved under us.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
                ) =>
            {
                return Ok(Copied::Moved);
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                return Ok(Copied::NoRoom { needed, available });
            }
            Err(error) => return Err(error),
        }
    }
    volume.sync_folder(target)?;
    Ok(if stamps()? == before { Copied::Whole } else { Copied::Moved })
}

/// Copies a file, past the page cache; false where `stop` ended it.
pub(super) fn copy_file(source: &Path, target: &Path, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let from = BlockFile::open(source, Open::Read)?;
    let mut to = File::create_new(target)?;
    let mut chunk = Blocks::zeroed(CHUNK);
    let (mut first, mut unsynced) = (0, 0);
    loop {
        if stop() {
            return Ok(false);
        }
        let count = from.read(first, &mut chunk)?;
        to.write_all(&chunk.as_ref()[..count])?;
        unsynced += count as u64;
        let ended = count < chunk.as_ref().len();
        if ended || unsynced >= UNSYNCED {
            to.sync_all()?;
            // Only advice: a file system without it merely keeps the pages.
            let _ = fadvise(&to, 0, None, Advice::DontNeed);
            unsynced = 0;
        }
        if ended {
            return Ok(true);
        }
        first += CHUNK;
    }
}

/// What is compared of a file, asked of the server.
pub(super) fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let seen = match statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        seen => seen?,
    };
    let mut block = Blocks::zeroed(1);
    let count = match BlockFile::open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.read(0, &mut block)?,
    };
    Ok(Some(Stamp {
        size: seen.stx_size,
        modified: (seen.stx_mtime.tv_sec, seen.stx_mtime.tv_nsec),
        changed: (seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec),
        head: block.as_ref()[..count.min(32)].to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::volume::Mounted;
    use std::cell::Cell;
    use std::fs;

    #[test]
    fn a_source_that_stands_still_is_copied_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&source).expect("source");
        fs::create_dir(&target).expect("target");
        let bytes: Vec<u8> = (0..200_001_u32).map(|n| n.to_le_bytes()[0]).collect();
        fs::write(source.join("store"), &bytes).expect("write");
        fs::write(target.join("log"), b"of an earlier try").expect("write");
        assert_eq!(
            copy(&Mounted, &source, &target, &["store", "log"], &|| false).expect("copy"),
            Copied::Whole
        );
        assert_eq!(fs::read(target.join("store")).expect("read"), bytes);
        assert_eq!(
            fs::read(target.join("log")).expect("read"),
            b"",
            "a file that the source has not must not be left of an earlier try"
        );
    }

    #[test]
    fn a_source_that_changes_meanwhile_is_not_accepted() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&source).expect("source");
        fs::create_dir(&target).expect("target");
        fs::write(source.join("store"), vec![7; 100_000]).expect("write");
        let changed = Cell::new(false);
        let late_writer = || {
            if !changed.replace(true) {
                fs::write(source.join("log"), b"late").expect("write");
            }
            false
        };
        assert_eq!(
            copy(&Mounted, &source, &target, &["store", "log"], &late_writer).expect("copy"),
            Copied::Moved
        );
    }
}
