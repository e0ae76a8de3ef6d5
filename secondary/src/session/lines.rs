//! Lines out of a stream of bytes (reference page section 1.2).

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::time::{Instant, timeout};

use crate::memory::{Budget, Lease, Taker};

/// What an idle connection keeps for the next command. Most fit.
const SMALL: usize = 1024;

/// The most that the buffer grows at a time.
const STEP: usize = 256 * 1024;

/// What a byte of a command costs until it is stored: its line, its value, and the row that SQLite makes of it.
pub(crate) const COPIES: u64 = 3;

/// How long a command may wait for the memory that it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client that is in the middle of a long command may send nothing, and how many bytes a second it has to come
/// to after that: what it has taken others need too.
const STALL: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 16 * 1024;

/// The bytes of a client that are no whole command yet.
#[derive(Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// So many bytes are known to hold no line feed.
    searched: usize,
    /// What a command has taken that is longer than most, and when it began to.
    long: Option<Long>,
}

struct Long {
    lease: Lease,
    began: Instant,
    /// Bytes that were read and are not kept, once there was not enough memory for the command.
    skipped: u64,
    refused: bool,
}

/// How long a command may be, and whose memory it takes.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    /// Bytes of a command at most.
    pub longest: usize,
    /// Who takes it.
    pub taker: Taker,
    /// What it is taken of.
    pub budget: &'a Budget,
}

/// What came of waiting for a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A command without its line feed. Blank ones too: they are answered.
    Command(Vec<u8>),
    /// More bytes than a command may have.
    TooLong,
    /// The bytes of a command that there was no memory for. It was read to its end, and nothing of it was kept.
    Refused(u64),
    /// The client is gone.
    End,
}

impl Lines {
    /// The next command. May be dropped while it waits; nothing is lost.
    pub async fn next<R>(&mut self, stream: &mut R, room: Room<'_>) -> io::Result<Line>
    where
        R: AsyncRead + Unpin,
    {
        if self.buffer.is_empty() && self.long.as_ref().is_some_and(|long| long.skipped == 0) {
            // The command before is done, and with it what it took.
            self.long = None;
        }
        loop {
            if self.is_refused() {
                if let Some(line) = self.skip(room) {
                    return Ok(line);
                }
            } else if let Some(end) = self.line_feed() {
                if end > room.longest {
                    return Ok(Line::TooLong);
                }
                if self.buffer.len() == self.buffer.capacity() {
                    self.read_what_is_there(stream).await?;
                }
                return Ok(Line::Command(self.take(end)));
            } else if self.buffer.len() > room.longest {
                return Ok(Line::TooLong);
            }
            if self.buffer.len() == self.buffer.capacity() && !self.grow(room).await {
                continue;
            }
            if self.read(stream).await? == 0 {
                return Ok(Line::End);
            }
            if let Some(long) = &mut self.long {
                long.lease.fill(self.buffer.len() as u64);
            }
        }
    }

    /// What is left behind the last command.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        (self.searched, self.long) = (0, None);
        std::mem::take(&mut self.buffer)
    }

    /// Makes the buffer larger, as far as bytes have come: what a client announces costs nothing. False where there is no
    /// memory for the command.
    async fn grow(&mut self, room: Room<'_>) -> bool {
        let more = self.buffer.len().clamp(SMALL, STEP);
        if !self.buffer.is_empty() {
            let long = self.long.get_or_insert_with(|| Long {
                lease: room.budget.lease(room.taker),
                began: Instant::now(),
                skipped: 0,
                refused: false,
            });
            if !long.lease.grow_within(more as u64 * COPIES, PATIENCE).await {
                long.refused = true;
                long.lease = room.budget.lease(room.taker);
                return false;
            }
        }
        self.buffer.reserve_exact(more);
        true
    }

    fn is_refused(&self) -> bool {
        self.long.as_ref().is_some_and(|long| long.refused)
    }

    /// Throws away what was read of a command that there is no memory for, to its end.
    fn skip(&mut self, room: Room<'_>) -> Option<Line> {
        let long = self.long.as_mut()?;
        let end = self.buffer.iter().position(|byte| *byte == b'\n');
        long.skipped += end.unwrap_or(self.buffer.len()) as u64;
        let skipped = long.skipped;
        match end {
            Some(end) => {
                let behind = self.buffer[end..].iter().position(|byte| !is_blank(*byte));
                self.buffer = behind.map_or_else(Vec::new, |behind| self.buffer[end + behind..].to_vec());
                (self.long, self.searched) = (None, 0);
                Some(Line::Refused(skipped))
            }
            None if skipped > room.longest as u64 => Some(Line::TooLong),
            None => {
                self.buffer.clear();
                self.buffer.shrink_to(SMALL);
                None
            }
        }
    }

    async fn read<R>(&mut self, stream: &mut R) -> io::Result<usize>
    where
        R: AsyncRead + Unpin,
    {
        let Some(long) = &self.long else { return stream.read_buf(&mut self.buffer).await };
        let come = self.buffer.len() as u64 + long.skipped;
        let allowed = STALL + Duration::from_secs(come / SLOWEST);
        let left = allowed.saturating_sub(long.began.elapsed()).min(STALL);
        let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the client sends a long command too slowly");
        timeout(left, stream.read_buf(&mut self.buffer)).await.map_err(slow)?
    }

    /// Where the first command ends. Blank lines before another command are skipped: some clients send them first.
    fn line_feed(&mut self) -> Option<usize> {
        if self.searched == 0 && self.buffer.first().copied().is_some_and(is_blank) {
            match self.buffer.iter().position(|byte| !is_blank(*byte)) {
                Some(start) => drop(self.buffer.drain(..start)),
                // Nothing but blanks: a blank line, if there is a whole one.
                None => return self.buffer.iter().rposition(|byte| *byte == b'\n'),
            }
        }
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = end.map(|end| self.searched + end);
        if end.is_none() {
            self.searched = self.buffer.len();
        }
        end
    }

    /// Takes the command that ends at `end`, and the blanks behind it: some clients end a command with two line feeds
    /// and expect one answer.
    fn take(&mut self, end: usize) -> Vec<u8> {
        self.searched = 0;
        let behind = self.buffer[end..].iter().position(|byte| !is_blank(*byte)).map(|rest| end + rest);
        match behind {
            // The usual case, without a copy; and the buffer is given away, so an idle connection keeps none.
            None => {
                let mut line = std::mem::take(&mut self.buffer);
                line.truncate(end);
                line
            }
            Some(rest) => {
                let following = self.buffer.split_off(rest);
                let mut line = std::mem::replace(&mut self.buffer, following);
                line.truncate(end);
                line
            }
        }
    }

    /// Reads once, without waiting. The buffer was full, so what belongs to this command may not have fitted.
    async fn read_what_is_there<R>(&mut self, stream: &mut R) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
    {
        let mut more = [0; 64];
        let mut read = ReadBuf::new(&mut more);
        std::future::poll_fn(|context| match Pin::new(&mut *stream).poll_read(context, &mut read) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready @ Poll::Ready(_) => ready,
        })
        .await?;
        self.buffer.extend_from_slice(read.filled());
        Ok(())
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_test::io::Builder;

    use super::*;
    use crate::memory::Gauge;

    const LONGEST: usize = 4000;

    /// The commands that these pieces of input make, each piece one read.
    fn commands(pieces: &[&[u8]]) -> Vec<String> {
        let mut builder = Builder::new();
        for piece in pieces {
            builder.read(piece);
        }
        let mut stream = builder.build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let mut lines = Lines::default();
            let mut commands = Vec::new();
            let budget = Budget::unlimited();
            let room = Room { longest: LONGEST, taker: Taker::Command, budget: &budget };
            loop {
                match lines.next(&mut stream, room).await.expect("input") {
                    Line::Command(line) => commands.push(String::from_utf8_lossy(&line).into_owned()),
                    Line::Refused(_) => commands.push("refused".to_owned()),
                    Line::TooLong => {
                        commands.push("too long".to_owned());
                        return commands;
                    }
                    Line::End => return commands,
                }
            }
        })
    }

    #[test]
    fn a_command_ends_with_its_line_feed_however_it_arrives() {
        assert_eq!(commands(&[b"info\n"]), ["info"]);
        assert_eq!(commands(&[b"in", b"fo", b"\n"]), ["info"]);
        assert_eq!(commands(&[b"info\r\n", b"scan\r\n"]), ["info\r", "scan\r"]);
    }

    #[test]
    fn two_commands_in_one_read_are_two_commands() {
        assert_eq!(commands(&[b"info\nscan\n"]), ["info", "scan"]);
        assert_eq!(commands(&[b"info\nsc", b"an\n"]), ["info", "scan"]);
    }

    #[test]
    fn blanks_that_came_with_a_command_belong_to_it() {
        assert_eq!(commands(&[b"from:alice\n\n"]), ["from:alice"]);
        assert_eq!(commands(&[b"info\n \r\n\nscan\n"]), ["info", "scan"]);
        assert_eq!(commands(&[b"\r\ninfo\n"]), ["info"]);
    }

    #[test]
    fn a_line_feed_that_just_did_not_fit_belongs_to_the_command_too() {
        let mut line = vec![b'x'; SMALL - 1];
        line.extend_from_slice(b"\n\n");
        assert_eq!(commands(&[&line]).len(), 1);
    }

    #[test]
    fn a_blank_line_on_its_own_is_a_command() {
        assert_eq!(commands(&[b"\r\n"]).len(), 1);
        assert_eq!(commands(&[b"info\n", b"\n"]).len(), 2);
        assert_eq!(commands(&[b" ", b"\n"]).len(), 1);
    }

    #[test]
    fn a_command_may_be_as_long_as_allowed_and_no_longer() {
        let whole = [vec![b'x'; LONGEST], b"\n".to_vec()].concat();
        assert_eq!(commands(&[&whole])[0].len(), LONGEST);
        let over = [vec![b'x'; LONGEST + 1], b"\n".to_vec()].concat();
        assert_eq!(commands(&[&over]), ["too long"]);
        assert_eq!(commands(&[&vec![b'x'; LONGEST + 1]]), ["too long"]);
        assert_eq!(commands(&[&vec![b' '; LONGEST + 1]]), ["too long"]);
    }

    /// 6 MiB, whoever runs the test.
    fn small() -> std::sync::Arc<Budget> {
        Budget::new(Gauge::none().with_limit(6 << 20), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_there_is_no_memory_for_is_read_to_its_end_and_keeps_nothing() {
        let budget = small();
        let room = Room { longest: 10_240_000, taker: Taker::Command, budget: &budget };
        let (mut near, mut far) = tokio::io::duplex(16 * 1024);
        let sent = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            near.write_all(&vec![b'x'; 5_000_000]).await.expect("sent");
            near.write_all(b"\ninfo\n").await.expect("sent");
            near
        });
        let mut lines = Lines::default();
        assert_eq!(lines.next(&mut far, room).await.expect("a line"), Line::Refused(5_000_000));
        assert_eq!(budget.account().taken().commands, 0);
        assert!(lines.buffer.capacity() <= SMALL, "{}", lines.buffer.capacity());
        assert_eq!(lines.next(&mut far, room).await.expect("a line"), Line::Command(b"info".to_vec()));
        drop(sent.await.expect("the sender"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_command_takes_its_memory_until_the_next_is_waited_for() {
        let budget = small();
        let room = Room { longest: 10_240_000, taker: Taker::Command, budget: &budget };
        let mut stream = Builder::new().read(&[b'x'; 8000]).read(b"\n").read(b"info\n").build();
        let mut lines = Lines::default();
        assert!(matches!(lines.next(&mut stream, room).await, Ok(Line::Command(_))));
        assert!(budget.account().taken().commands >= 7000 * COPIES);
        assert_eq!(lines.next(&mut stream, room).await.expect("a line"), Line::Command(b"info".to_vec()));
        assert_eq!(budget.account().taken().commands, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_in_the_middle_of_a_long_command_is_given_up() {
        let budget = small();
        let room = Room { longest: 10_240_000, taker: Taker::Command, budget: &budget };
        let (mut near, mut far) = tokio::io::duplex(16 * 1024);
        tokio::io::AsyncWriteExt::write_all(&mut near, &[b'x'; 8000]).await.expect("sent");
        let given_up = Lines::default().next(&mut far, room).await.expect_err("too slow");
        assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
        assert_eq!(budget.account().taken().commands, 0);
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_into_reads_does_not_matter_to_commands_without_blank_lines(
            wanted in prop::collection::vec("[a-z:@]{1,30}", 1..6),
            cut in 1_usize..40,
        ) {
            let bytes = wanted.join("\n") + "\n";
            let pieces: Vec<&[u8]> = bytes.as_bytes().chunks(cut).collect();
            prop_assert_eq!(commands(&pieces), wanted);
        }
    }
}
