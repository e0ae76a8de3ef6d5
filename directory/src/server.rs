//! The sockets: accepts, shakes hands, reads, writes, and ends what takes too long.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::address_book::AddressBook;
use crate::connections::{Connections, Slot};
use crate::metrics::Metrics;
use crate::options::Limits;
use crate::session::{MAX_LINE, PROMPT, Request, Session};

/// Why a connection ended, where it is worth telling.
type Ended = std::io::Result<()>;

/// Serves clients for ever; ending this task ends their connections.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    book: Arc<AddressBook>,
    metrics: Arc<Metrics>,
    limits: Limits,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = Connections::new(limits.max_connections);
    let mut clients = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Mostly: no file descriptor is left. It passes as connections end.
                    warn!("accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = clients.join_next() => {
                metrics.set_connections(connections.len());
                continue;
            }
        };
        let (slot, crowded) = connections.enter(Instant::now());
        metrics.connected(crowded);
        metrics.set_connections(connections.len());
        let (acceptor, book, metrics) = (acceptor.clone(), Arc::clone(&book), Arc::clone(&metrics));
        clients.spawn(async move {
            let client = Client { book: &book, metrics: &metrics, limits, slot: &slot };
            tokio::select! {
                ended = client.serve(stream, acceptor) => {
                    if let Err(error) = ended {
                        debug!("a connection broke: {error}");
                    }
                }
                () = slot.told_to_go() => debug!("a connection made room for another"),
            }
        });
    }
}

/// One client's connection.
struct Client<'a> {
    book: &'a AddressBook,
    metrics: &'a Metrics,
    limits: Limits,
    slot: &'a Slot,
}

impl Client<'_> {
    async fn serve(&self, stream: TcpStream, acceptor: TlsAcceptor) -> Ended {
        stream.set_nodelay(true)?;
        let handshake = timeout(self.limits.handshake_timeout, acceptor.accept(stream)).await;
        let mut stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.handshake_failed();
                return Err(error);
            }
            Err(elapsed) => {
                self.metrics.handshake_failed();
                return Err(elapsed.into());
            }
        };
        self.send(&mut stream, PROMPT).await?;

        let mut session = Session::default();
        let mut pace = Pace::new(self.limits.max_lookups_per_second);
        let mut chunk = [0; MAX_LINE];
        loop {
            let Ok(read) = timeout(self.limits.idle_timeout, stream.read(&mut chunk)).await else {
                break;
            };
            match read? {
                0 => return Ok(()),
                length => session.receive(&chunk[..length]),
            }
            while let Some(request) = session.next_request() {
                let Request::Find(line) = request else {
                    return goodbye(&mut stream).await;
                };
                sleep_until(pace.next(Instant::now())).await;
                let reply = session.answer(&line, self.book);
                self.metrics.asked(reply.outcome);
                self.slot.asked(Instant::now());
                if !reply.after.is_zero() {
                    sleep(reply.after).await;
                }
                let Some(text) = reply.text else {
                    return goodbye(&mut stream).await;
                };
                self.send(&mut stream, &text).await?;
            }
        }
        goodbye(&mut stream).await
    }

    /// Sends `text` in one record: SDKs take a lone prompt for an answer.
    async fn send(&self, stream: &mut (impl AsyncWrite + Unpin), text: &str) -> Ended {
        timeout(self.limits.handshake_timeout, async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        })
        .await?
    }
}

/// Says at the TLS layer that this is the end, if the client still listens.
async fn goodbye(stream: &mut (impl AsyncWrite + Unpin)) -> Ended {
    let _ = timeout(Duration::from_secs(1), stream.shutdown()).await;
    Ok(())
}

/// When the next question may be answered, so that their rate stays below a bound: a bucket of one second's worth.
struct Pace {
    interval: Duration,
    /// The bucket is full at this time.
    full: Instant,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, full: Instant::now() }
    }

    fn next(&mut self, now: Instant) -> Instant {
        self.full = self.full.max(now) + self.interval;
        // One second's worth may come at once.
        (self.full - self.interval).checked_sub(Duration::from_secs(1)).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_questions_is_answered_at_once_and_the_rest_at_the_rate() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut pace = Pace::new(10);
        let waits: Vec<u128> = (0..13).map(|_| (pace.next(now) - now).as_millis()).collect();
        assert_eq!(waits[..11], [0; 11]);
        assert_eq!(waits[11..], [100, 200]);
    }
}
