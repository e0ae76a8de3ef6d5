//! The sockets: accepts, shakes hands, reads, writes, and ends what takes too long.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::addresses::Addresses;
use crate::connections::{Connections, Slot};
use crate::line::{Lines, MAX_LINE, Request};
use crate::metrics::{Limit, Metrics};
use crate::options::Limits;
use crate::pace::{self, Pace, Paces};
use crate::session::{PROMPT, Session};

/// Why a connection ended, where it is worth telling.
type Ended = std::io::Result<()>;

/// Serves clients for ever; ending this task ends their connections.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    addresses: Arc<Addresses>,
    metrics: Arc<Metrics>,
    limits: Limits,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = Connections::new(limits.max_connections, limits.max_connections_per_address);
    let paces = Arc::new(Paces::new(limits.max_lookups_per_second_per_address));
    let mut clients = tokio::task::JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => (stream, pace::client(peer.ip())),
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
        let (slot, crowded) = connections.enter(address, Instant::now());
        metrics.connected(crowded);
        metrics.set_connections(connections.len());
        let (acceptor, addresses) = (acceptor.clone(), Arc::clone(&addresses));
        let (metrics, paces) = (Arc::clone(&metrics), Arc::clone(&paces));
        clients.spawn(async move {
            let client = Client {
                address,
                addresses: &addresses,
                paces: &paces,
                metrics: &metrics,
                limits,
                slot: &slot,
            };
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
    address: IpAddr,
    addresses: &'a Addresses,
    paces: &'a Paces,
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

        let (mut lines, mut session) = (Lines::default(), Session::default());
        let mut pace = Pace::new(self.limits.max_lookups_per_second, Instant::now());
        let mut chunk = [0; MAX_LINE];
        loop {
            let Ok(read) = timeout(self.limits.idle_timeout, stream.read(&mut chunk)).await else {
                break;
            };
            match read? {
                0 => return Ok(()),
                length => lines.receive(&chunk[..length]),
            }
            while let Some(request) = lines.next_request() {
                let Request::Find(line) = request else {
                    return goodbye(&mut stream).await;
                };
                self.wait(&mut pace).await;
                let reply = session.answer(self.addresses.find(&line).await);
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

    /// Waits as long as this connection, and all of its address together, have been asking too fast.
    async fn wait(&self, pace: &mut Pace) {
        let now = Instant::now();
        let (own, shared) = (pace.next(now), self.paces.next(self.address, now));
        if own.max(shared) > now {
            self.metrics.slowed(if own < shared { Limit::address } else { Limit::connection });
            sleep_until(own.max(shared)).await;
        }
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
