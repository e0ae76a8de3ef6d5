//! A connection that sends or receives a stream (reference page section 2.23).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{mpsc, watch};

use super::lines::Lines;
use super::{Writer, last_call};
use crate::atserver::AtServer;
use crate::connections::Slot;
use crate::streams::{Progress, Receiving, Sending};

/// Bytes that are relayed at a time.
const CHUNK: usize = 8 * 1024;

/// What a connection does with a stream.
pub(crate) enum Streaming {
    /// Its client has offered one.
    Sending(Sending),
    /// Its client takes one.
    Receiving(Receiving),
}

/// What comes next of the stream of a connection.
pub(super) enum Event {
    /// Of the one that it sends.
    Sending(Progress),
    /// Of the one that it receives: bytes for the client, `None` at the end.
    Bytes(Option<Vec<u8>>),
}

/// Waits for it, for ever where there is no stream. May be dropped while it waits; nothing is lost.
pub(super) async fn next(streaming: &mut Option<Box<Streaming>>) -> Event {
    match streaming.as_deref_mut() {
        // Boxed: connections without a stream carry nothing of it.
        Some(streaming) => Box::pin(event(streaming)).await,
        None => std::future::pending().await,
    }
}

async fn event(streaming: &mut Streaming) -> Event {
    match streaming {
        Streaming::Sending(sending) => Event::Sending(sending.next().await),
        Streaming::Receiving(receiving) => Event::Bytes(receiving.recv().await),
    }
}

/// Passes on what the client sends until somebody says that all of it has arrived, or one of the two is gone. A slow
/// receiver slows the sender down; nothing piles up here.
pub(super) async fn relay<S, T>(
    server: &AtServer<S>,
    (stream, lines): (&mut T, &mut Lines),
    sending: &Sending,
    chunks: mpsc::Sender<Vec<u8>>,
    slot: &Slot,
    draining: &mut watch::Receiver<bool>,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    say(server, stream, "ack", &sending.id).await?;
    // What came with the last command and is none.
    let mut chunk = lines.take_rest();
    loop {
        slot.written();
        if chunk.is_empty() {
            chunk.reserve_exact(CHUNK);
            tokio::select! {
                biased;
                () = sending.done() => return say(server, stream, "done", &sending.id).await,
                () = slot.evicted() => return Ok(()),
                () = chunks.closed() => return Ok(()),
                read = stream.read_buf(&mut chunk) => if read? == 0 { return Ok(()) },
                () = last_call(draining) => return Ok(()),
            }
        }
        tokio::select! {
            biased;
            () = sending.done() => return say(server, stream, "done", &sending.id).await,
            () = slot.evicted() => return Ok(()),
            sent = chunks.send(std::mem::take(&mut chunk)) => if sent.is_err() { return Ok(()) },
            () = last_call(draining) => return Ok(()),
        }
    }
}

/// Tells the sender of a stream how it stands.
pub(super) async fn say<S, T>(server: &AtServer<S>, stream: &mut T, what: &str, id: &str) -> io::Result<()>
where
    T: AsyncWrite + Unpin,
{
    Writer::new(stream, server.limits().write).finish(&format!("stream:{what} {id}\n")).await
}
