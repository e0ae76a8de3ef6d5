//! TLS records on their way in (RFC 8446 section 5). TLS keeps what has come of a record until it is whole, and then its
//! text until that is read; and of handshake messages, which may be sent at any time, all records until the message is
//! whole. That is up to 64 KiB which whoever sends it can have waiting for ever. So what is more than a trifle takes memory
//! of the account before it is read, where there is none it stays with its sender, and there is an end to it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::connections::SharedTaker;
use crate::memory::account::{Account, SMALL};
use crate::memory::{Lease, Taker};
use crate::sockets::Socket;

/// Type, version and length.
const HEADER: usize = 5;

/// What a byte of a record costs: itself, and its text.
const COPIES: u64 = 2;

/// Bytes of records without a text for us that may follow each other: the largest handshake with the client certificates
/// that we take is smaller.
const WITHOUT_TEXT: usize = 24 * 1024;

/// Text that is given out at a time.
const PART: usize = 4096;

/// How long a record may be on its way that has taken memory: others need it too.
const STALL: Duration = Duration::from_secs(30);

/// A connection below TLS.
pub(crate) struct Records<T> {
    stream: T,
    account: Arc<Account>,
    place: Place,
    /// What the record takes that is on its way, and when it is late.
    room: Option<(Lease, Pin<Box<Sleep>>)>,
    /// There was no memory for it: until some is given back.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whose memory it is, once anybody can know.
    taker: Option<SharedTaker>,
    /// Whether the kernel may hold no more of it than of a stranger's.
    narrow: bool,
}

/// A connection above TLS.
pub(crate) struct Text<T>(TlsStream<Records<T>>);

/// Where in the stream of records the next byte belongs.
#[derive(Default)]
struct Place {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    of_header: usize,
    /// The length of the record's body, and what of it has not come yet.
    body: usize,
    left: usize,
    /// Bytes of the records that have come since there was text.
    without_text: usize,
}

impl Place {
    /// Goes on over bytes that have come.
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.of_header < HEADER {
                let (now, later) = bytes.split_at(bytes.len().min(HEADER - self.of_header));
                self.header[self.of_header..][..now.len()].copy_from_slice(now);
                self.of_header += now.len();
                bytes = later;
                if self.of_header == HEADER {
                    self.body = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                    self.left = self.body;
                }
            } else {
                let now = bytes.len().min(self.left);
                self.left -= now;
                bytes = &bytes[now..];
            }
            if self.of_header == HEADER && self.left == 0 {
                *self = Self { without_text: self.without_text + self.body, ..Self::default() };
            }
        }
    }

    /// What is to be taken for what comes next, as far as that is known.
    fn needs(&self) -> u64 {
        let joined = if self.without_text > 2 * PART { WITHOUT_TEXT } else { 0 };
        let most = self.body.max(joined) as u64;
        if most > SMALL { most * COPIES } else { 0 }
    }
}

impl<T> Records<T> {
    pub(crate) fn new(stream: T, account: Arc<Account>) -> Self {
        Self {
            stream,
            account,
            place: Place::default(),
            room: None,
            waiting: None,
            taker: None,
            narrow: true,
        }
    }

    fn taker(&self) -> Taker {
        let taker = self.taker.as_ref().map(|taker| *taker.lock().unwrap_or_else(PoisonError::into_inner));
        taker.unwrap_or(Taker::Stranger)
    }

    /// Takes what the record needs that comes, and gives back what the last one did: TLS reads on once its text was read.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let needs = self.place.needs();
        if self.room.as_ref().map_or(0, |(lease, _)| lease.bytes()) == needs {
            return Poll::Ready(());
        }
        self.room = None;
        if needs == 0 {
            self.waiting = None;
            return Poll::Ready(());
        }
        loop {
            let taker = self.taker();
            if let Some(lease) = self.account.take(taker, needs) {
                (self.room, self.waiting) = (Some((lease, Box::pin(sleep(STALL)))), None);
                return Poll::Ready(());
            }
            match &mut self.waiting {
                Some(waiting) => ready!(waiting.as_mut().poll(context)),
                None => self.account.refuse(taker, needs),
            }
            // Polled before the next look, so that what is given back after that wakes us.
            let account = Arc::clone(&self.account);
            let mut freed = Box::pin(async move { account.freed.notified().await });
            let _ = freed.as_mut().poll(context);
            self.waiting = Some(freed);
        }
    }
}

impl<T: AsyncRead + Socket + Unpin> AsyncRead for Records<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.narrow && this.taker() != Taker::Stranger {
            this.stream.widen(this.account.limit());
            this.narrow = false;
        }
        ready!(this.poll_room(context));
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.place.pass(&buffer.filled()[before..]);
        if this.place.without_text > WITHOUT_TEXT {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a TLS message is too long");
            return Poll::Ready(Err(error));
        }
        if let (Poll::Pending, Some((_, late))) = (&read, &mut this.room) {
            ready!(late.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "a TLS record never ends")));
        }
        read
    }
}

impl<T> Text<T> {
    /// Above a finished handshake. `taker`: whose memory it takes from now on.
    pub(crate) fn new(mut stream: TlsStream<Records<T>>, taker: SharedTaker) -> Self {
        stream.get_mut().0.taker = Some(taker);
        Self(stream)
    }
}

impl<T: AsyncRead + AsyncWrite + Socket + Unpin> AsyncRead for Text<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &mut self.get_mut().0;
        // TLS goes on through the records until all of it is full; only here is seen that there was text.
        let most = buffer.remaining().min(PART);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let read = Pin::new(&mut *stream).poll_read(context, &mut part);
        let come = part.filled().len();
        buffer.advance(come);
        if come > 0 {
            stream.get_mut().0.place.without_text = 0;
        }
        read
    }
}

/// Has one written through to what is below it.
macro_rules! write_through {
    ($upper:ident, $below:tt, $($bound:tt)+) => {
        impl<T: $($bound)+> AsyncWrite for $upper<T> {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().$below).poll_write(context, bytes)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                parts: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().$below).poll_write_vectored(context, parts)
            }

            fn is_write_vectored(&self) -> bool {
                self.$below.is_write_vectored()
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().$below).poll_flush(context)
            }

            fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().$below).poll_shutdown(context)
            }
        }
    };
}

write_through!(Records, stream, AsyncWrite + Unpin);
write_through!(Text, 0, AsyncRead + AsyncWrite + Socket + Unpin);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::memory::Shares;

    impl Socket for DuplexStream {
        fn widen(&self, _: u64) {}
    }

    const MINUTE: Duration = Duration::from_mins(1);

    fn account() -> Arc<Account> {
        Account::new(Shares::of(6 << 20), None)
    }

    fn connection(account: &Arc<Account>) -> (DuplexStream, Records<DuplexStream>) {
        let (client, server) = duplex(1 << 20);
        (client, Records::new(server, Arc::clone(account)))
    }

    /// A record without its last byte.
    fn in_part(body: u16) -> Vec<u8> {
        let header = [&[0x17, 3, 3][..], &body.to_be_bytes()].concat();
        header.into_iter().chain(std::iter::repeat_n(1, usize::from(body) - 1)).collect()
    }

    async fn read(records: &mut Records<DuplexStream>, count: usize) -> io::Result<()> {
        // As much at a time as TLS reads.
        let mut left = vec![0; count];
        for part in left.chunks_mut(4096) {
            records.read_exact(part).await?;
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_record_takes_memory_while_it_comes_and_a_small_one_takes_none() -> io::Result<()> {
        let account = account();
        let (mut client, mut records) = connection(&account);
        client.write_all(&[in_part(4000), vec![1], in_part(16_000)].concat()).await?;
        read(&mut records, 4005).await?;
        assert_eq!(account.taken().strangers, 0);
        read(&mut records, 16_004).await?;
        assert_eq!(account.taken().strangers, 32_000);
        client.write_all(&[1]).await?;
        read(&mut records, 1).await?;
        // As it is once its text was read.
        records.place.without_text = 0;
        assert!(timeout(MINUTE, read(&mut records, 1)).await.is_err(), "there is nothing more");
        assert_eq!(account.taken().strangers, 0);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_memory_it_waits_with_its_sender_until_there_is() -> io::Result<()> {
        let account = account();
        let (mut client, mut records) = connection(&account);
        client.write_all(&in_part(16_000)).await?;
        let all = account.take(Taker::Stranger, account.shares().strangers).expect("room");
        assert!(timeout(MINUTE, read(&mut records, 16_004)).await.is_err());
        assert_eq!(account.wanted().1, 0, "a stranger wants nothing");
        let (read, ()) = tokio::join!(timeout(MINUTE, read(&mut records, 8000)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(all);
        });
        read.expect("in time")
    }

    #[tokio::test(start_paused = true)]
    async fn the_owners_take_the_owners_memory() -> io::Result<()> {
        let account = account();
        let (mut client, mut records) = connection(&account);
        records.taker = Some(Arc::new(Mutex::new(Taker::Command)));
        client.write_all(&in_part(16_000)).await?;
        read(&mut records, 16_004).await?;
        assert_eq!((account.taken().strangers, account.taken().commands), (0, 32_000));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_in_many_records_takes_memory_and_has_an_end() -> io::Result<()> {
        let account = account();
        let (mut client, mut records) = connection(&account);
        for _ in 0..9 {
            client.write_all(&[in_part(3000), vec![1]].concat()).await?;
        }
        for _ in 0..3 {
            read(&mut records, 3005).await?;
            assert_eq!(account.taken().strangers, 0);
        }
        read(&mut records, 1).await?;
        assert_eq!(account.taken().strangers, 48 << 10);
        let error = read(&mut records, 6 * 3005).await.expect_err("it is too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_ends_ends_the_connection() -> io::Result<()> {
        let (mut client, mut records) = connection(&account());
        client.write_all(&in_part(16_000)).await?;
        let began = Instant::now();
        let error = read(&mut records, 16_005).await.expect_err("it never ends");
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, STALL));
        Ok(())
    }
}
