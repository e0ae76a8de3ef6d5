//! The front door: accepts connections, shakes hands within bounds, and starts a session for each.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::atserver::AtServer;
use crate::session;
use crate::store::Store;
use crate::{tls, web};

/// How long sessions may take to end once the server goes down.
const DRAIN: Duration = Duration::from_secs(5);

/// A handshake younger than this is not given up for a newer one.
const YOUNG: Duration = Duration::from_secs(2);

/// The longest wait for a client to take note that the connection ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves connections until `shutdown` is true, then lets the running commands end.
///
/// Commands that come after that are answered AT0024; the silent are closed after half a second, the slow after five.
pub async fn serve<S: Store>(
    listener: TcpListener,
    server: Arc<AtServer<S>>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let handshakes = Arc::new(Handshakes::default());
    let mut sessions = JoinSet::new();
    let draining = shutdown.clone();
    let reaper = server.connections.reap(|| server.limits());
    tokio::pin!(reaper);
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that nobody can say it any more.
            _ = shutdown.wait_for(|down| *down) => break,
            Some(_) = sessions.join_next() => continue,
            never = &mut reaper => match never {},
            accepted = accept(&listener, &handshakes, server.limits().handshakes) => accepted,
        };
        match accepted {
            Ok(stream) => {
                let turn = handshakes.begin();
                sessions.spawn(connection(stream, Arc::clone(&server), draining.clone(), turn));
            }
            // Out of file descriptors, mostly: the others go on, and some of them will end.
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(DRAIN, async { while sessions.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn accept(listener: &TcpListener, handshakes: &Handshakes, most: usize) -> io::Result<TcpStream> {
    handshakes.room(most).await;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One connection from its first byte to its last.
async fn connection<S: Store>(
    stream: TcpStream,
    server: Arc<AtServer<S>>,
    draining: watch::Receiver<bool>,
    turn: Turn,
) {
    // Boxed: the handshake's state is large, and would stay part of an idle connection.
    let Some(mut stream) = Box::pin(shake_hands(stream, &server, turn)).await else { return };
    match server.connections.admit(&server.limits()) {
        Some(slot) if stream.get_ref().1.alpn_protocol() == Some(web::PROTOCOL) => {
            // Boxed: other connections carry nothing of it.
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            return Box::pin(web::serve(&server, stream, certificates, slot, draining)).await;
        }
        Some(slot) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            session::run(&server, &mut stream, certificates, slot, draining).await;
        }
        None => Box::pin(turn_away(&server, &mut stream)).await,
    }
    let _ = timeout(GOODBYE, stream.shutdown()).await;
}

async fn shake_hands<S>(stream: TcpStream, server: &AtServer<S>, turn: Turn) -> Option<TlsStream<TcpStream>> {
    let acceptor = TlsAcceptor::from(server.tls.server_config());
    let handshake =
        acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(tls::SEND_BUFFER)));
    tokio::select! {
        // Port scans and probes end here many times a day: nothing to report.
        done = timeout(server.limits().handshake, handshake) => done.ok()?.ok(),
        () = turn.given_up() => None,
    }
}

async fn turn_away<S>(server: &AtServer<S>, stream: &mut TlsStream<TcpStream>) {
    server.count_refused();
    tracing::warn!(connections = server.connections.count(), "refused a connection: no slot is left");
    let _ = timeout(GOODBYE, async {
        stream.write_all(b"error:AT0012-Inbound connection limit exceeded\n").await?;
        stream.flush().await
    })
    .await;
}

/// The handshakes under way, oldest first. When there are as many as there may be, the oldest makes room: who starts
/// handshakes and lets them hang cannot keep others out.
#[derive(Default)]
struct Handshakes {
    under_way: Mutex<UnderWay>,
    ended: Notify,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    oldest_first: VecDeque<(u64, Instant, Arc<Notify>)>,
}

/// One handshake's place among the others; dropped when it has ended, one way or the other.
struct Turn {
    id: u64,
    give_up: Arc<Notify>,
    handshakes: Arc<Handshakes>,
}

impl Handshakes {
    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more may begin.
    async fn room(&self, most: usize) {
        loop {
            let wait = {
                let mut under_way = self.under_way();
                if under_way.oldest_first.len() < most.max(1) {
                    return;
                }
                let age = under_way.oldest_first.front().map_or(YOUNG, |(_, began, _)| began.elapsed());
                if age >= YOUNG {
                    if let Some((_, _, give_up)) = under_way.oldest_first.pop_front() {
                        give_up.notify_one();
                    }
                    return;
                }
                YOUNG.saturating_sub(age)
            };
            let _ = timeout(wait, self.ended.notified()).await;
        }
    }

    fn begin(self: &Arc<Self>) -> Turn {
        let mut under_way = self.under_way();
        let id = under_way.next;
        under_way.next += 1;
        let give_up = Arc::new(Notify::new());
        under_way.oldest_first.push_back((id, Instant::now(), Arc::clone(&give_up)));
        Turn { id, give_up, handshakes: Arc::clone(self) }
    }
}

impl Turn {
    async fn given_up(&self) {
        self.give_up.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.handshakes.under_way().oldest_first.retain(|(id, _, _)| *id != self.id);
        self.handshakes.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hanging_handshake_makes_room_after_two_seconds() {
        let handshakes = Arc::new(Handshakes::default());
        let hanging = handshakes.begin();
        let start = Instant::now();
        handshakes.room(1).await;
        assert_eq!(start.elapsed(), YOUNG);
        hanging.given_up().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_ends_makes_room_at_once() {
        let handshakes = Arc::new(Handshakes::default());
        let quick = handshakes.begin();
        let start = Instant::now();
        let ((), ()) = tokio::join!(handshakes.room(1), async { drop(quick) });
        assert!(start.elapsed() < Duration::from_millis(1));
    }
}
