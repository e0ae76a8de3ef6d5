//! `atsign-secondary storage init|wipe`: makes or removes one atSign's directory right below the root of a volume.
//!
//! It runs as an ordinary user on a volume that tenants write to, so nothing is followed that is not a directory.

use std::io;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fsync, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::options::{Place, StorageCommand};

/// Directories below each other. The server makes two levels; more than this was made by somebody else.
const DEEPEST: usize = 32;

/// A directory on NFS may keep `.nfs…` names for files that another machine still has open, for a while.
const TRIES: usize = 3;

/// Why the directory was not made or removed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The name could mean something else than one directory below the root.
    #[error("{0:?} is not a directory's name here: lower case letters, digits, dots and dashes, at most 253")]
    Name(String),
    /// Something else has that name.
    #[error("{0:?} is there but is not a directory")]
    NotADirectory(String),
    /// The directory was not made by a server.
    #[error("{0:?} has more than {DEEPEST} directories below each other")]
    TooDeep(String),
    /// The volume refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for StorageError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Does it. Again is no error.
pub fn run(command: &StorageCommand) -> Result<(), StorageError> {
    match command {
        StorageCommand::Init(Place { root, dir }) => init(root, dir),
        StorageCommand::Wipe(Place { root, dir }) => wipe(root, dir),
    }
}

fn init(root: &Path, name: &str) -> Result<(), StorageError> {
    check_name(name)?;
    let root = open_directory(CWD, root)?;
    match mkdirat(&root, name, Mode::from_raw_mode(0o770)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let found = FileType::from_raw_mode(statat(&root, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
            if found != FileType::Directory {
                return Err(StorageError::NotADirectory(name.to_owned()));
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(fsync(&root)?)
}

fn wipe(root: &Path, name: &str) -> Result<(), StorageError> {
    check_name(name)?;
    let root = open_directory(CWD, root)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match open_directory(&root, name) {
            Err(Errno::NOENT) => break,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(StorageError::NotADirectory(name.to_owned())),
            directory => empty(&directory?, name, 0)?,
        }
        match unlinkat(&root, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => break,
            Err(Errno::NOTEMPTY | Errno::EXIST) if tries < TRIES => {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(fsync(&root)?)
}

/// Removes everything in a directory, holding one name at a time and one descriptor a level.
fn empty(directory: &OwnedFd, name: &str, depth: usize) -> Result<(), StorageError> {
    if depth == DEEPEST {
        return Err(StorageError::TooDeep(name.to_owned()));
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let child = entry.file_name();
        if matches!(child.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(directory, child, AtFlags::empty()) {
            // Busy: somebody still has it open over NFS; the directory is tried again.
            Ok(()) | Err(Errno::NOENT | Errno::BUSY) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        match open_directory(directory, child) {
            Err(Errno::NOENT) => continue,
            inner => empty(&inner?, name, depth + 1)?,
        }
        match unlinkat(directory, child, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn check_name(name: &str) -> Result<(), StorageError> {
    let allowed =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    if starts_well && name.len() <= 253 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(StorageError::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_is_made_once_and_removed_once_and_again_is_no_error() {
        let root = tempfile::tempdir().expect("a folder");
        init(root.path(), "alice-1").expect("init");
        init(root.path(), "alice-1").expect("init again");
        fs::create_dir_all(root.path().join("alice-1/data/epoch")).expect("folders");
        for number in 0..300 {
            fs::write(root.path().join(format!("alice-1/data/epoch/{number}")), "x").expect("write");
        }
        wipe(root.path(), "alice-1").expect("wipe");
        assert!(!root.path().join("alice-1").exists());
        wipe(root.path(), "alice-1").expect("wipe again");
    }

    #[test]
    fn links_are_removed_and_never_followed() {
        let root = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("another folder");
        fs::write(outside.path().join("precious"), "x").expect("write");
        init(root.path(), "alice").expect("init");
        symlink(outside.path(), root.path().join("alice/out")).expect("link");
        wipe(root.path(), "alice").expect("wipe");
        assert!(outside.path().join("precious").exists());

        symlink(outside.path(), root.path().join("bob")).expect("link");
        assert!(matches!(wipe(root.path(), "bob"), Err(StorageError::NotADirectory(_))));
        assert!(matches!(init(root.path(), "bob"), Err(StorageError::NotADirectory(_))));
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn only_one_directory_right_below_the_root_can_be_named() {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["", ".", "..", "a/b", "/etc", "../x", "a b", "A", "-x", &"x".repeat(254)] {
            assert!(matches!(init(root.path(), name), Err(StorageError::Name(_))), "{name:?}");
            assert!(matches!(wipe(root.path(), name), Err(StorageError::Name(_))), "{name:?}");
        }
    }
}
