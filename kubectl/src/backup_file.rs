//! Backup files: a line of JSON that says what is in one, and behind it the store. What is written is there whole or not at
//! all, and what is restored is checked before anything is touched.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use atsign_protocol::backup::{LONGEST, Manifest};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::time::timeout;

use crate::admin_port::PATIENCE;

/// Bytes read and written at a time.
pub const CHUNK: usize = 64 * 1024;

/// What a backup file was found to be.
#[derive(Debug)]
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its bytes.
    pub bytes: u64,
    /// Its own SHA-256, hexadecimal: that in the manifest is the store's alone.
    pub sha256: String,
}

impl Checked {
    /// In a line for people.
    pub fn sentence(&self) -> String {
        let Self { manifest: Manifest { at_sign, counts, .. }, bytes, .. } = self;
        let made = Timestamp::from_second(self.manifest.made_at()).unwrap_or_default();
        format!(
            "{at_sign} as of {made}: {} keys, {} notifications, {} enrollments; {bytes} bytes",
            counts.keys, counts.notifications, counts.enrollments
        )
    }
}

/// Adds up the parts of a backup file while they pass.
struct Sums {
    file: Sha256,
    store: Sha256,
    bytes: u64,
}

impl Sums {
    fn of(line: &[u8]) -> Self {
        Self { file: Sha256::new_with_prefix(line), store: Sha256::new(), bytes: line.len() as u64 }
    }

    fn add(&mut self, chunk: &[u8]) {
        self.file.update(chunk);
        self.store.update(chunk);
        self.bytes += chunk.len() as u64;
    }

    /// Whether the store is what the manifest says.
    fn check(self, line: &[u8], manifest: Manifest) -> Result<Checked> {
        let (found, store) = (self.bytes - line.len() as u64, hex(&self.store.finalize()));
        ensure!(
            (found, &store) == (manifest.bytes, &manifest.sha256),
            "the store has {found} bytes and the checksum {store}, the backup's first line says {} and {}",
            manifest.bytes,
            manifest.sha256
        );
        Ok(Checked { manifest, bytes: self.bytes, sha256: hex(&self.file.finalize()) })
    }
}

/// Copies a backup file from a server, and checks it on its way.
pub async fn receive(from: &mut (impl AsyncBufRead + Unpin), to: &mut dyn Write) -> Result<Checked> {
    let mut line = Vec::new();
    let mut first = (&mut *from).take(LONGEST as u64);
    timeout(PATIENCE, first.read_until(b'\n', &mut line)).await.context("the server sends nothing")??;
    let manifest = Manifest::parse(&line).context("the backup's first line")?;
    to.write_all(&line)?;
    let (mut sums, mut chunk) = (Sums::of(&line), vec![0; CHUNK]);
    loop {
        let count = timeout(PATIENCE, from.read(&mut chunk)).await.context("the server sends no more")??;
        if count == 0 {
            return sums.check(&line, manifest);
        }
        sums.add(&chunk[..count]);
        to.write_all(&chunk[..count])?;
    }
}

/// Opens a backup file and reads all of it; it is at its beginning again then.
pub fn open(path: &Path) -> Result<(Checked, File)> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        bail!("this is no file; what kubectl atsign backup wrote is one");
    }
    let mut reader = BufReader::with_capacity(CHUNK, &file);
    let mut line = Vec::new();
    (&mut reader).take(LONGEST as u64).read_until(b'\n', &mut line)?;
    let manifest = Manifest::parse(&line).context("this is no backup: its first line cannot be read")?;
    let mut sums = Sums::of(&line);
    loop {
        let chunk = reader.fill_buf()?;
        let count = chunk.len();
        if count == 0 {
            break;
        }
        sums.add(chunk);
        reader.consume(count);
    }
    let checked = sums.check(&line, manifest)?;
    file.seek(SeekFrom::Start(0))?;
    Ok((checked, file))
}

/// A file that is being written under another name. Dropped before it is finished, it is gone.
pub struct NewFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl NewFile {
    /// Begins one. Only its owner may read it: secrets of the server are in a backup.
    pub fn begin(target: &Path) -> Result<Self> {
        refuse_existing(target)?;
        let name = target.file_name().context("this names no file")?.to_string_lossy();
        let partial = target.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let file = file.with_context(|| format!("writing {}", partial.display()))?;
        Ok(Self { file, partial, target: target.to_owned(), is_finished: false })
    }

    /// Gives it its name, once it is on the disk.
    pub fn finish(mut self) -> Result<()> {
        self.file.sync_all()?;
        refuse_existing(&self.target)?;
        std::fs::rename(&self.partial, &self.target)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

fn refuse_existing(target: &Path) -> Result<()> {
    ensure!(!target.exists(), "{} is there already, and a backup is never overwritten", target.display());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn backup_of(store: &[u8]) -> Vec<u8> {
        let manifest = Manifest {
            format: 1,
            name: "2026-11-24T15-04-05.060Z".to_owned(),
            at_sign: "@alice".to_owned(),
            bytes: store.len() as u64,
            sha256: hex(&Sha256::digest(store)),
            ..Manifest::default()
        };
        [manifest.line().as_bytes(), store].concat()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_received_is_there_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("alice.backup");
        let sent = backup_of(&[7].repeat(200_000));
        let mut file = NewFile::begin(&target).unwrap();
        let received = receive(&mut sent.as_slice(), &mut file).await.unwrap();
        file.finish().unwrap();
        assert_eq!(names(folder.path()), ["alice.backup"]);
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((received.bytes, &received.sha256), (sent.len() as u64, &hex(&Sha256::digest(&sent))));
        assert!(received.sentence().starts_with("@alice as of 2026-11-24T15:04:05Z: 0 keys"));

        let (checked, mut file) = open(&target).unwrap();
        assert_eq!((checked.manifest, checked.sha256), (received.manifest, received.sha256));
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert_eq!(read, sent, "from its beginning");
        let again = NewFile::begin(&target).err().expect("a refusal").to_string();
        assert!(again.contains("never overwritten"), "{again}");
    }

    #[tokio::test]
    async fn what_is_cut_off_or_changed_is_no_backup_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("alice.backup");
        let whole = backup_of(b"the store");
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for (case, sent) in [("cut off", &whole[..whole.len() - 1]), ("changed", &changed), ("none", b"{}\n")]
        {
            let mut file = NewFile::begin(&target).unwrap();
            assert!(receive(&mut &*sent, &mut file).await.is_err(), "{case}");
            drop(file);
            assert!(names(folder.path()).is_empty(), "{case}");
            let bad = folder.path().join("bad");
            std::fs::write(&bad, sent).unwrap();
            assert!(open(&bad).is_err(), "{case}");
            std::fs::remove_file(bad).unwrap();
        }
    }
}
