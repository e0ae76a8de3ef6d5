//! A look at the write-ahead log before SQLite reads it.
//!
//! SQLite takes the first frame whose checksum is wrong for the end of the log. That is right after a crash, for the
//! transaction that was being written then was never acknowledged; but where complete transactions follow, what is
//! wrong is damage, and what follows was acknowledged. The format: <https://sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Size of a page of our stores.
const PAGE: u64 = 4096;

const MAGIC: u32 = 0x377f_0682;

/// Bytes of a log of so many frames.
pub(super) fn length(frames: u64) -> u64 {
    HEADER as u64 + frames * (FRAME_HEADER as u64 + PAGE)
}

/// What there is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Nothing behind the last transaction that counts.
    Whole,
    /// A transaction that was never finished. It must not stay there: behind later ones it would look like damage.
    Unfinished,
}

/// Reads the log; `Err` inside says what is damaged.
pub(super) fn inspect(path: &Path) -> io::Result<Result<Log, String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Log::Whole)),
        file => file?,
    };
    inspect_bytes(&mut BufReader::with_capacity(64 * 1024, file))
}

/// The same of the bytes of a log.
pub fn inspect_bytes(reader: &mut impl Read) -> io::Result<Result<Log, String>> {
    let mut header = [0; HEADER];
    if read(reader, &mut header)? < HEADER {
        // Cut short while it was made: no frame was ever behind it.
        return Ok(Ok(Log::Whole));
    }
    let magic = word(&header, 0);
    let mut sum = Sum { little_endian: magic == MAGIC, ..Sum::default() };
    sum.add(&header[..24]);
    let page = word(&header, 8) as usize;
    let sound = magic & !1 == MAGIC && (512..=65_536).contains(&page) && page.is_power_of_two();
    if !sound || !sum.is(&header[24..]) {
        let mut first = [0; FRAME_HEADER];
        let count = read(reader, &mut first)?;
        // It is on disk before the first frame is written.
        let empty = first[..count].iter().all(|byte| *byte == 0);
        return Ok(if empty { Ok(Log::Unfinished) } else { Err("the log's header is damaged".to_owned()) });
    }

    let salts = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER + page];
    let (mut number, mut bad, mut later) = (0_u64, None, 0);
    let mut open = false;
    while read(reader, &mut frame)? == frame.len() {
        number += 1;
        let ours = frame[8..16] == *salts;
        let commits = word(&frame, 4) != 0;
        if bad.is_none() {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEADER..]);
            if ours && sum.is(&frame[16..24]) {
                open = !commits;
                continue;
            }
            bad = Some(number);
            // Frames with other salts are of an earlier round, whose pages are in the store's file.
            open |= ours;
        }
        later += u32::from(ours && commits);
    }
    Ok(match (bad, later) {
        // One may be the end of the transaction that was being written: its parts reach the disk in any order.
        (Some(bad), 2..) => Err(format!(
            "frame {bad} of the log does not have its checksum, and {later} transactions follow it"
        )),
        (_, 0) if !open => Ok(Log::Whole),
        _ => Ok(Log::Unfinished),
    })
}

/// Fills the buffer, less only where the file ends.
fn read(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The running checksum.
#[derive(Default)]
struct Sum {
    little_endian: bool,
    first: u32,
    second: u32,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks_exact(8) {
            let (one, other) = (word(pair, 0), word(pair, 4));
            let (one, other) =
                if self.little_endian { (one.swap_bytes(), other.swap_bytes()) } else { (one, other) };
            self.first = self.first.wrapping_add(one).wrapping_add(self.second);
            self.second = self.second.wrapping_add(other).wrapping_add(self.first);
        }
    }

    fn is(&self, bytes: &[u8]) -> bool {
        word(bytes, 0) == self.first && word(bytes, 4) == self.second
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rusqlite::Connection;

    use super::*;

    /// A log of five transactions, as SQLite writes it.
    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store.db");
        let connection = Connection::open(&file).expect("open");
        connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        connection.pragma_update(None, "wal_autocheckpoint", 0).expect("no checkpoint");
        connection.execute_batch("CREATE TABLE t (x)").expect("create");
        for number in 0..4 {
            connection.execute("INSERT INTO t VALUES (?1)", [number]).expect("insert");
        }
        let copy = folder.path().join("log");
        fs::copy(folder.path().join("store.db-wal"), &copy).expect("copy");
        (folder, copy)
    }

    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Log, String> {
        let (_folder, path) = log();
        let mut bytes = fs::read(&path).expect("read");
        change(&mut bytes);
        fs::write(&path, bytes).expect("write");
        inspect(&path).expect("read")
    }

    const FRAME: usize = FRAME_HEADER + 4096;

    #[test]
    fn a_log_as_sqlite_writes_it_is_whole_and_so_is_none() {
        assert_eq!(changed(|_| {}), Ok(Log::Whole));
        assert_eq!(changed(Vec::clear), Ok(Log::Whole));
        assert_eq!(inspect(Path::new("/nowhere/store.db-wal")).expect("none"), Ok(Log::Whole));
    }

    #[test]
    fn a_last_transaction_that_was_cut_short_or_came_in_another_order_is_unfinished_not_damage() {
        assert_eq!(changed(|log| log.truncate(log.len() - 1)), Ok(Log::Whole), "half a frame is none");
        let flip_in_last = |log: &mut Vec<u8>| {
            let last = log.len() - 100;
            log[last] ^= 1;
        };
        assert_eq!(changed(flip_in_last), Ok(Log::Unfinished));
    }

    #[test]
    fn a_flipped_bit_before_what_was_acknowledged_is_damage() {
        let error = changed(|log| log[HEADER + FRAME_HEADER + 200] ^= 1).expect_err("damage");
        assert!(error.starts_with("frame 1 of the log"), "{error}");
        assert!(changed(|log| log[HEADER + 2 * FRAME + 20] ^= 1).is_err(), "in a frame's own checksum");
        assert!(changed(|log| log[HEADER + 2 * FRAME + 9] ^= 1).is_err(), "in what tells its round");
        assert!(changed(|log| log[17] ^= 1).is_err(), "in the log's header");
    }

    #[test]
    fn what_an_earlier_round_left_behind_the_end_is_not_looked_at() {
        let from_earlier = |log: &mut Vec<u8>| {
            let last = log.len() - FRAME;
            let mut stale = log[last..].to_vec();
            stale[8] ^= 1;
            log.extend(stale);
        };
        assert_eq!(changed(from_earlier), Ok(Log::Whole));
    }
}
