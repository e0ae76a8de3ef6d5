//! Backups: what one is, where it is, and which are kept.
//!
//! A backup is a folder below `backups` in the storage directory, named by the time at which it was made: the store's
//! file, and a manifest that says what must be in it. The folder gets its name last, so what has a name is whole.

pub mod command;
mod make;
mod request;
mod restore;

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use atsign_protocol::backup::LONGEST;
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};

use crate::epoch::volume::sync_directory;

pub use atsign_protocol::backup::Manifest;
pub use make::{BackupError, make};
pub use request::{RequestError, request, response};
pub use restore::{Restore, RestoreError, Restored, restore};

/// The folder of backups in a storage directory.
pub const FOLDER: &str = "backups";

/// The manifest's file in a backup.
pub const MANIFEST: &str = "manifest.json";

/// Backups that are kept where nobody says how many.
pub const KEPT: usize = 7;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// Reads the manifest of the backup in a folder.
pub fn manifest_of(backup: &Path) -> io::Result<Manifest> {
    let mut json = Vec::new();
    File::open(backup.join(MANIFEST))?.take(LONGEST as u64).read_to_end(&mut json)?;
    parse(&json)
}

/// Reads the first line of a backup file.
fn manifest_line(file: &mut impl BufRead) -> io::Result<Manifest> {
    let mut line = Vec::new();
    file.take(LONGEST as u64).read_until(b'\n', &mut line)?;
    parse(&line)
}

fn parse(json: &[u8]) -> io::Result<Manifest> {
    Manifest::parse(json).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Names of the backups in a storage directory, oldest first.
pub fn list(storage: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(storage.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_name(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `2026-11-24T15-04-05.123Z`: in the order of time, and a name on every file system.
fn name(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H-%M-%S.%3fZ").to_string()
}

/// Whether a backup may be named so.
pub fn is_name(name: &str) -> bool {
    let form = "0000-00-00T00-00-00.000Z".bytes();
    let fits = |(given, form): (u8, u8)| if form == b'0' { given.is_ascii_digit() } else { given == form };
    name.len() == form.len() && name.bytes().zip(form).all(fits)
}

/// Removes the oldest backups but `kept`, and what was never finished.
fn tidy(storage: &Path, kept: usize) -> io::Result<()> {
    let folder = storage.join(FOLDER);
    let names = list(storage)?;
    for name in &names[..names.len().saturating_sub(kept.max(1))] {
        // The manifest goes first: what is only half removed is no backup any more.
        fs::remove_file(folder.join(name).join(MANIFEST))?;
        fs::remove_dir_all(folder.join(name))?;
    }
    sync_directory(&folder)
}

/// SHA-256 of a file, whose pages do not stay in memory.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => digest.update(&chunk[..count]),
        }
    }
    // Only advice.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn folder_of(storage: &Path, name: &str) -> PathBuf {
    storage.join(FOLDER).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_time_and_nothing_else_is_a_backup() {
        let name = name("2026-11-24T15:04:05.06Z".parse().expect("a time"));
        assert_eq!(name, "2026-11-24T15-04-05.060Z");
        assert!(is_name(&name));
        for other in ["", ".new-1", "2026-11-24", "lost+found", "2026-11-24T15-04-05.060Z.old", ".."] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn the_oldest_go_and_one_at_least_stays() {
        let storage = tempfile::tempdir().expect("a folder");
        for second in 1..=5 {
            let backup = folder_of(storage.path(), &format!("2026-11-24T15-04-0{second}.000Z"));
            fs::create_dir_all(&backup).expect("folder");
            fs::write(backup.join(MANIFEST), "{}").expect("write");
        }
        fs::create_dir(storage.path().join("backups/of somebody")).expect("folder");
        tidy(storage.path(), 2).expect("tidy");
        assert_eq!(
            list(storage.path()).expect("list"),
            ["2026-11-24T15-04-04.000Z", "2026-11-24T15-04-05.000Z"]
        );
        tidy(storage.path(), 0).expect("tidy");
        assert_eq!(list(storage.path()).expect("list"), ["2026-11-24T15-04-05.000Z"]);
        assert!(storage.path().join("backups/of somebody").exists());
    }
}
