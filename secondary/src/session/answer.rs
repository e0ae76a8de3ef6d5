//! Answers on their way out.
//!
//! SDKs read an answer until a TLS record holds its line feed, and take the prompt to be in the same record (reference
//! page section 1.3). So an answer and its prompt are one write where they fit into a record; of a longer one the
//! blocks are cut so that the last record is full, prompt included.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::memory::Lease;
use crate::memory::account::{LARGE, SMALL};
use crate::session::PATIENCE;

/// The most that a TLS record holds.
const RECORD: usize = 16 * 1024;

/// What a longer one takes until the client has read it: what is collected, the record that waits to be sent, and most of
/// what the kernel holds.
const HELD: u64 = LARGE;

/// How many bytes a second a client has to read of a long answer, beside a patience for each block: it holds memory
/// that others need too.
const SLOWEST: u64 = 4 * 1024;

/// What a verb answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `data:` and the text.
    Text(String),
    /// The same of a large text, and the memory that it takes.
    Large(String, Lease),
    /// `data: ` and the text: `stats` alone has the space.
    Spaced(String),
    /// `data:null`.
    Null,
    /// The verb wrote its answer itself.
    Written,
    /// Nothing but the prompt, which tells who the client is now.
    Prompt,
    /// Not even the prompt.
    Nothing,
}

impl Answer {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A text that may have taken memory.
    pub(crate) fn held(text: String, lease: Option<Lease>) -> Self {
        match lease {
            Some(lease) => Self::Large(text, lease),
            None => Self::Text(text),
        }
    }
}

/// Collects an answer and sends it.
pub(crate) struct Writer<'a, T> {
    stream: &'a mut T,
    buffer: Vec<u8>,
    /// For answers that may be long: where the memory comes from.
    lease: Option<Lease>,
    /// How long the client may take to read a block.
    patience: Duration,
    /// Bytes that were sent, and how long the client took to take them.
    sent: u64,
    taken: Duration,
}

impl<'a, T: AsyncWrite + Unpin> Writer<'a, T> {
    pub(super) fn new(stream: &'a mut T, patience: Duration) -> Self {
        Self { stream, buffer: Vec::new(), lease: None, patience, sent: 0, taken: Duration::ZERO }
    }

    /// The same of an answer that may be long: a lease that holds nothing yet.
    pub(super) fn with(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Adds to the answer. What is more than two records goes out, so that no answer is in memory twice.
    pub(crate) async fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let length = self.buffer.len() + bytes.len();
        if length as u64 > SMALL {
            let length = length.min(2 * RECORD);
            self.take_memory(length as u64).await?;
            self.make_room(length);
        }
        while self.buffer.len() + bytes.len() > 2 * RECORD {
            let (now, later) = bytes.split_at((2 * RECORD - self.buffer.len()).min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            self.send(RECORD).await?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) async fn answer(&mut self, answer: Answer) -> io::Result<()> {
        if let Answer::Large(text, lease) = &answer
            && lease.bytes() >= 3 * text.len() as u64
        {
            // What it has taken is for what is written of it, too.
            self.lease = None;
        }
        let (prefix, text) = match &answer {
            // Not added twice.
            Answer::Text(text) | Answer::Large(text, _) if text.starts_with("data:") => ("", text.as_str()),
            Answer::Text(text) | Answer::Large(text, _) => ("data:", text.as_str()),
            Answer::Spaced(text) => ("data: ", text.as_str()),
            Answer::Null => ("data:", "null"),
            Answer::Written => ("", ""),
            Answer::Prompt | Answer::Nothing => return Ok(()),
        };
        self.push(prefix.as_bytes()).await?;
        self.push(text.as_bytes()).await?;
        self.push(b"\n").await
    }

    /// Adds the prompt and sends all that is left.
    pub(super) async fn finish(&mut self, prompt: &str) -> io::Result<()> {
        self.buffer.extend_from_slice(prompt.as_bytes());
        let head = self.buffer.len() % RECORD;
        if head > 0 {
            self.send(head).await?;
        }
        while !self.buffer.is_empty() {
            self.send(RECORD.min(self.buffer.len())).await?;
        }
        // Nothing more: whoever makes messages of it ends one here.
        self.timed(async |stream| {
            let _none = stream.write(&[]).await?;
            stream.flush().await
        })
        .await
    }

    /// Whether a part of the answer is on its way already.
    pub(super) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// Forgets what was collected.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// Makes the buffer so large at least. By itself it would grow to twice of what it ever holds.
    fn make_room(&mut self, length: usize) {
        let capacity = self.buffer.capacity();
        if length > capacity {
            self.buffer.reserve_exact(length.max((2 * capacity).min(2 * RECORD)) - self.buffer.len());
        }
    }

    async fn take_memory(&mut self, length: u64) -> io::Result<()> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        if lease.bytes() == 0 && !lease.grow_within(HELD, PATIENCE).await {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "no memory for an answer"));
        }
        lease.fill(length);
        Ok(())
    }

    /// Sends the first bytes as one record, and returns when the kernel has them: what waits there is less than a record.
    async fn send(&mut self, length: usize) -> io::Result<()> {
        self.sent += length as u64;
        let buffer = std::mem::take(&mut self.buffer);
        self.timed(async |stream| {
            stream.write_all(&buffer[..length]).await?;
            stream.flush().await
        })
        .await?;
        self.buffer = buffer;
        self.buffer.drain(..length);
        Ok(())
    }

    async fn timed(&mut self, write: impl AsyncFnOnce(&mut T) -> io::Result<()>) -> io::Result<()> {
        let left = (self.patience + Duration::from_secs(self.sent / SLOWEST)).saturating_sub(self.taken);
        let began = Instant::now();
        let written = tokio::time::timeout(left.min(self.patience), write(self.stream)).await;
        self.taken += began.elapsed();
        match written {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that notes each write.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            bytes: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            if !bytes.is_empty() {
                self.0.push(bytes.to_vec());
            }
            std::task::Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    async fn written(answer: Answer) -> Vec<Vec<u8>> {
        let mut stream = Writes::default();
        let mut writer = Writer::new(&mut stream, Duration::from_secs(1));
        writer.answer(answer).await.expect("written");
        writer.finish("@alice@").await.expect("written");
        stream.0
    }

    #[tokio::test]
    async fn an_answer_and_its_prompt_are_one_write() {
        assert_eq!(written(Answer::text("42")).await, [b"data:42\n@alice@"]);
        assert_eq!(written(Answer::text("data:42")).await, [b"data:42\n@alice@"]);
        assert_eq!(written(Answer::Spaced("[]".into())).await, [b"data: []\n@alice@"]);
        assert_eq!(written(Answer::Null).await, [b"data:null\n@alice@"]);
    }

    #[tokio::test]
    async fn the_buffer_of_an_answer_in_many_pieces_grows_seldom_and_to_two_records_at_most() {
        let mut stream = Writes::default();
        let mut writer = Writer::new(&mut stream, Duration::from_secs(1));
        let mut sizes = Vec::new();
        for _ in 0..5000 {
            writer.push(b"\"a.key@alice\",").await.expect("written");
            sizes.push(writer.buffer.capacity());
        }
        sizes.dedup();
        assert!(sizes.len() < 16 && sizes.iter().all(|size| *size <= 2 * RECORD), "{sizes:?}");
    }

    #[tokio::test]
    async fn the_end_of_a_long_answer_fills_a_record_with_its_prompt() {
        // Lengths around those where the prompt would else stand alone in the last record.
        for length in [
            RECORD - 20,
            RECORD - 13,
            RECORD - 6,
            RECORD,
            2 * RECORD - 13,
            2 * RECORD,
            5 * RECORD + 7,
            999_999,
        ] {
            let text = "v".repeat(length);
            let writes = written(Answer::text(text.clone())).await;
            assert_eq!(writes.concat(), format!("data:{text}\n@alice@").into_bytes(), "{length}");
            let last = writes.last().expect("a write");
            assert!(writes.len() == 1 || last.len() == RECORD, "{length}: the last write has {}", last.len());
            assert!(writes.iter().all(|write| write.len() <= RECORD), "{length}");
        }
    }
}
