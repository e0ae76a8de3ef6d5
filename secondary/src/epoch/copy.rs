//! The copy of a predecessor's store, taken beside a writer that may not know yet that it was replaced.
//!
//! A copy beside a running writer is worthless (it was corrupt every time it was tried), so one is accepted only if
//! nothing of the source changed between a look before and a look after, and if the copy then passes its check.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Advice, AtFlags, CWD, StatxFlags, fadvise, statvfs, statx};

use super::block::{BlockFile, Blocks};
use super::files::sync_directory;

/// Blocks read at a time: 64 KiB, so that the copy fits beside a server in 6 MiB.
const CHUNK: usize = 16;

/// Bytes written before they are waited for and dropped from the page cache.
const UNSYNCED: u64 = 1 << 20;

/// What is compared before and after.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
    /// The first bytes: the header of a write-ahead log holds its salts.
    head: Vec<u8>,
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

/// Copies the files `names` from one folder to another, those that exist. `stop` is asked between chunks.
pub fn copy(source: &Path, target: &Path, names: &[&str], stop: impl Fn() -> bool) -> io::Result<Copied> {
    let before = stamps(source, names)?;
    let needed = before.iter().flatten().map(|stamp| stamp.size).sum();
    let volume = statvfs(target)?;
    let available = volume.f_bavail.saturating_mul(volume.f_frsize);
    if available < needed {
        return Ok(Copied::NoRoom { needed, available });
    }
    for (name, stamp) in names.iter().zip(&before) {
        let copy = target.join(name);
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if stamp.is_none() {
            continue;
        }
        match copy_file(&source.join(name), &copy, &stop) {
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
    sync_directory(target)?;
    Ok(if stamps(source, names)? == before { Copied::Whole } else { Copied::Moved })
}

/// False where `stop` ended it.
fn copy_file(source: &Path, target: &Path, stop: &impl Fn() -> bool) -> io::Result<bool> {
    let from = BlockFile::open(source)?;
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

fn stamps(folder: &Path, names: &[&str]) -> io::Result<Vec<Option<Stamp>>> {
    names.iter().map(|name| stamp(&folder.join(name))).collect()
}

fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let seen = match statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        seen => seen?,
    };
    let mut block = Blocks::zeroed(1);
    let count = match BlockFile::open(path) {
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
    use std::cell::Cell;

    #[test]
    fn a_source_that_stands_still_is_copied_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, target) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&source).expect("source");
        fs::create_dir(&target).expect("target");
        let bytes: Vec<u8> = (0..200_001_u32).map(|n| n.to_le_bytes()[0]).collect();
        fs::write(source.join("store"), &bytes).expect("write");
        fs::write(target.join("log"), b"of an earlier try").expect("write");
        assert_eq!(copy(&source, &target, &["store", "log"], || false).expect("copy"), Copied::Whole);
        assert_eq!(fs::read(target.join("store")).expect("read"), bytes);
        assert!(
            !target.join("log").exists(),
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
        assert_eq!(copy(&source, &target, &["store", "log"], late_writer).expect("copy"), Copied::Moved);
    }
}
