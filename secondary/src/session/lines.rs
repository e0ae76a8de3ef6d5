//! Lines out of a stream of bytes (reference page section 1.2).

use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// What an idle connection keeps for the next command. Most fit.
const SMALL: usize = 1024;

/// The most that the buffer grows at a time.
const STEP: usize = 256 * 1024;

/// The bytes of a client that are no whole command yet.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// So many bytes are known to hold no line feed.
    searched: usize,
}

/// What came of waiting for a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A command without its line feed. Blank ones too: they are answered.
    Command(Vec<u8>),
    /// More bytes than a command may have.
    TooLong,
    /// The client is gone.
    End,
}

impl Lines {
    /// The next command of at most `longest` bytes. May be dropped while it waits; nothing is lost.
    pub(super) async fn next<R>(&mut self, stream: &mut R, longest: usize) -> io::Result<Line>
    where
        R: AsyncRead + Unpin,
    {
        loop {
            if let Some(end) = self.line_feed() {
                if end > longest {
                    return Ok(Line::TooLong);
                }
                if self.buffer.len() == self.buffer.capacity() {
                    self.read_what_is_there(stream).await?;
                }
                return Ok(Line::Command(self.take(end)));
            }
            if self.buffer.len() > longest {
                return Ok(Line::TooLong);
            }
            // The buffer grows only as bytes come: what a client announces costs nothing.
            if self.buffer.len() == self.buffer.capacity() {
                self.buffer.reserve_exact(self.buffer.len().clamp(SMALL, STEP));
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Line::End);
            }
        }
    }

    /// What is left behind the last command.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        self.searched = 0;
        std::mem::take(&mut self.buffer)
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

    const LONGEST: usize = 4000;

    /// The commands that these pieces of input make, each piece one read.
    fn commands(pieces: &[&[u8]]) -> Vec<String> {
        let mut builder = Builder::new();
        for piece in pieces {
            builder.read(piece);
        }
        let mut stream = builder.build();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut lines = Lines::default();
            let mut commands = Vec::new();
            loop {
                match lines.next(&mut stream, LONGEST).await.expect("input") {
                    Line::Command(line) => commands.push(String::from_utf8_lossy(&line).into_owned()),
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
