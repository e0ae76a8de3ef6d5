//! The log: JSON lines to standard output, and to files of a bounded size. Neither ever blocks the server: each has a
//! small thread and a bounded queue, and what does not fit is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::store::caches::drop_pages;

/// Lines that may wait for one place.
const WAITING: usize = 256;

/// Bytes of them. A place hangs when its volume does, and that must not take the memory away.
const WAITING_BYTES: usize = 64 * 1024;

/// A longer line is dropped.
const LONGEST: usize = 16 * 1024;

const STACK: usize = 64 * 1024;

/// Name of the file that is written; the one before it has `.1` appended.
const FILE: &str = "secondary.log";

/// A file that failed is tried again after this.
const PAUSE: Duration = Duration::from_secs(5);

enum Entry {
    Line(Arc<[u8]>),
    DropPages,
    Flush(SyncSender<()>),
}

/// The log's places, and how many lines they lost.
#[derive(Clone)]
pub struct Logs {
    places: Arc<[Way]>,
    dropped: Arc<AtomicU64>,
}

/// The way to one place.
struct Way {
    entries: SyncSender<Entry>,
    /// Bytes that are on it.
    waiting: Arc<AtomicUsize>,
}

impl Way {
    /// False where there is no room.
    fn send(&self, line: &Arc<[u8]>) -> bool {
        let length = line.len();
        if self.waiting.fetch_add(length, Ordering::Relaxed) + length <= WAITING_BYTES
            && self.entries.try_send(Entry::Line(Arc::clone(line))).is_ok()
        {
            return true;
        }
        self.waiting.fetch_sub(length, Ordering::Relaxed);
        false
    }
}

impl Logs {
    /// Starts the log of this process. `files`: a directory, and the size at which a file is begun anew.
    pub fn start(level: tracing::Level, files: Option<(&Path, u64)>) -> io::Result<Self> {
        let mut places = vec![spawn("log", Standard(io::stdout()))?];
        if let Some((directory, size)) = files {
            places.push(spawn("log-file", Rotating::new(directory, size))?);
        }
        let logs = Self { places: places.into(), dropped: Arc::default() };
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_max_level(level)
            .with_writer(logs.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        Ok(logs)
    }

    /// Lines that were lost since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Has the kernel forget what it holds of the files.
    pub fn drop_pages(&self) {
        for place in &*self.places {
            // One that has no room for this has no pages to spare either.
            let _ = place.entries.try_send(Entry::DropPages);
        }
    }

    /// Waits until everything that was logged so far is written, but not for long: a place may hang.
    pub fn flush(&self) {
        let deadline = Instant::now() + Duration::from_millis(300);
        for place in &*self.places {
            let (done, written) = sync_channel(1);
            if place.entries.try_send(Entry::Flush(done)).is_ok() {
                let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Each call is one whole line.
impl Write for &Logs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let fits = line.len() <= LONGEST;
        let shared: Arc<[u8]> = if fits { line.into() } else { Arc::default() };
        for place in &*self.places {
            if !fits || !place.send(&shared) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines go. One that fails loses the line.
trait Place: Send + 'static {
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// Has the kernel forget what it holds of it.
    fn drop_pages(&self) {}
}

fn spawn(name: &str, mut place: impl Place) -> io::Result<Way> {
    let (sender, entries): (_, Receiver<Entry>) = sync_channel(WAITING);
    let waiting = Arc::new(AtomicUsize::new(0));
    let written = Arc::clone(&waiting);
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
        for entry in entries {
            match entry {
                Entry::Line(line) => {
                    // Nobody is left to be told.
                    drop(place.write(&line));
                    written.fetch_sub(line.len(), Ordering::Relaxed);
                }
                Entry::DropPages => place.drop_pages(),
                Entry::Flush(done) => drop(done.try_send(())),
            }
        }
    })?;
    Ok(Way { entries: sender, waiting })
}

struct Standard(io::Stdout);

impl Place for Standard {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = self.0.lock();
        out.write_all(line)?;
        out.flush()
    }
}

/// Two files of a bounded size.
struct Rotating {
    directory: PathBuf,
    size: u64,
    open: Option<(File, u64)>,
    failed: Option<Instant>,
}

impl Rotating {
    fn new(directory: &Path, size: u64) -> Self {
        Self { directory: directory.to_owned(), size, open: None, failed: None }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let path = self.directory.join(FILE);
        let length = line.len() as u64;
        let (mut file, written) = if let Some(open) = self.open.take() {
            open
        } else {
            std::fs::create_dir_all(&self.directory)?;
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let written = file.metadata()?.len();
            (file, written)
        };
        let written = if written > 0 && written + length > self.size {
            std::fs::rename(&path, self.directory.join(format!("{FILE}.1")))?;
            file = OpenOptions::new().create(true).append(true).open(&path)?;
            0
        } else {
            written
        };
        file.write_all(line)?;
        self.open = Some((file, written + length));
        Ok(())
    }
}

impl Place for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return Err(io::Error::other("the log's directory failed a moment ago"));
        }
        let written = self.append(line);
        self.failed = written.is_err().then(Instant::now);
        written
    }

    fn drop_pages(&self) {
        for file in [FILE.to_owned(), format!("{FILE}.1")] {
            drop_pages(&self.directory.join(file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_begun_anew_at_their_size_and_only_one_older_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("logs");
        let mut files = Rotating::new(&directory, 100);
        for number in 0..50 {
            files.write(format!("line {number:02} of the log\n").as_bytes()).expect("write");
        }
        let lengths: Vec<u64> = std::fs::read_dir(&directory)
            .expect("list")
            .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
            .collect();
        assert_eq!(lengths.len(), 2);
        assert!(lengths.iter().all(|length| *length <= 100), "{lengths:?}");
        let last = std::fs::read_to_string(directory.join(FILE)).expect("read");
        assert!(last.ends_with("line 49 of the log\n"), "{last}");
    }

    #[test]
    fn a_place_that_hangs_blocks_nobody_and_its_lines_are_counted() {
        struct Hanging(Receiver<()>);
        impl Place for Hanging {
            fn write(&mut self, _: &[u8]) -> io::Result<()> {
                self.0.recv().map_err(io::Error::other)
            }
        }
        let (_release, hang) = sync_channel(0);
        let place = spawn("hanging", Hanging(hang)).expect("a thread");
        let logs = Logs { places: [place].into(), dropped: Arc::default() };
        let began = Instant::now();
        for _ in 0..1000 {
            (&logs).write_all(b"line\n").expect("write");
        }
        logs.flush();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert!(logs.dropped() >= 1000 - WAITING as u64 - 1, "{}", logs.dropped());
    }
}
