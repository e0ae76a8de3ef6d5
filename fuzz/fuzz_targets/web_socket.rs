//! The frames of a WebSocket: whatever comes, less is read than was sent, and answers to it stay small.
#![no_main]

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use atsign_secondary::web::socket::Socket;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// A client that sends a few bytes at a time, and takes what it is sent.
struct Client<'a> {
    sends: &'a [u8],
    step: usize,
    taken: usize,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let count = self.step.min(buffer.remaining()).min(self.sends.len());
        let (piece, rest) = self.sends.split_at(count);
        buffer.put_slice(piece);
        self.sends = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.taken += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let mut client = Client { sends: bytes, step: usize::from(step).max(1), taken: 0 };
    let mut read = Vec::new();
    let mut socket = Socket::new(&mut client);
    let Poll::Ready(_) = pin!(socket.read_to_end(&mut read)).poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("nothing is waited for");
    };
    assert!(read.len() <= bytes.len(), "more was read than was sent");
    assert!(client.taken <= bytes.len(), "more was answered than was sent");
});
