//! The front door: accepts connections, shakes hands within bounds, and starts a session for each.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::atserver::AtServer;
use crate::connections::Slot;
use crate::handshakes::{Handshakes, Turn};
use crate::memory::Level;
use crate::origin::Origin;
use crate::records::{Records, Text};
use crate::store::Store;
use crate::{session, sockets, tls, web};

/// How long sessions may take to end once the server goes down.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a new connection is put off while memory is short.
const DELAY: Duration = Duration::from_millis(500);

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
    sockets::bound_strangers(&listener);
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
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (server, handshakes) = (Arc::clone(&server), Arc::clone(&handshakes));
                sessions.spawn(connection(stream, address.ip().into(), server, draining.clone(), handshakes));
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

/// One connection from its first byte to its last.
async fn connection<S: Store>(
    stream: TcpStream,
    origin: Origin,
    server: Arc<AtServer<S>>,
    draining: watch::Receiver<bool>,
    handshakes: Arc<Handshakes>,
) {
    // Boxed: the handshake's state is large, and would stay part of an idle connection.
    let Some(Greeted { mut stream, slot, certificates, is_web }) =
        Box::pin(greet(stream, origin, &server, handshakes)).await
    else {
        return;
    };
    if is_web {
        // Boxed: other connections carry nothing of it.
        return Box::pin(web::serve(&server, stream, certificates, slot, draining)).await;
    }
    session::run(&server, &mut stream, certificates, slot, draining).await;
    let _ = timeout(GOODBYE, stream.shutdown()).await;
}

/// A connection that has a place.
struct Greeted {
    stream: Text<TcpStream>,
    slot: Slot,
    certificates: Vec<CertificateDer<'static>>,
    /// Whether it asked for HTTP.
    is_web: bool,
}

/// Shakes hands and finds a place for the connection; says so where there is none.
async fn greet<S>(
    stream: TcpStream,
    origin: Origin,
    server: &AtServer<S>,
    handshakes: Arc<Handshakes>,
) -> Option<Greeted> {
    // Short lines are sent at once; a kernel that refuses sends them later.
    let _ = stream.set_nodelay(true);
    // The turn is kept until there is a place: so few wait for one at a time.
    let turn = handshakes.turn(origin, server.limits().handshakes).await?;
    if server.budget.level() >= Level::ConnectionsDelayed {
        tokio::time::sleep(DELAY).await;
    }
    let stream = Records::new(stream, Arc::clone(server.budget.account()));
    let mut stream = shake_hands(stream, server, &turn).await?;
    let admitted = if server.budget.level() >= Level::ConnectionsRefused {
        None
    } else {
        server.connections.admit(&server.limits(), origin, &server.budget).await
    };
    if admitted.is_none() {
        turn_away(server, &mut stream).await;
        let _ = timeout(GOODBYE, stream.shutdown()).await;
    }
    let slot = admitted?;
    let tls = stream.get_ref().1;
    let certificates = tls.peer_certificates().unwrap_or_default().to_vec();
    let is_web = tls.alpn_protocol() == Some(web::PROTOCOL);
    Some(Greeted { stream: Text::new(stream, slot.taker()), slot, certificates, is_web })
}

async fn shake_hands<S>(
    stream: Records<TcpStream>,
    server: &AtServer<S>,
    turn: &Turn,
) -> Option<TlsStream<Records<TcpStream>>> {
    let acceptor = TlsAcceptor::from(server.tls.server_config());
    let handshake =
        acceptor.accept_with(stream, |connection| connection.set_buffer_limit(Some(tls::SEND_BUFFER)));
    tokio::select! {
        // Port scans and probes end here many times a day: nothing to report.
        done = timeout(server.limits().handshake, handshake) => done.ok()?.ok(),
        () = turn.given_up() => None,
    }
}

/// Which limit it is, where it is the number of connections and not the memory.
fn refusal<S>(server: &AtServer<S>) -> String {
    let limit = server.limits().connections;
    let which = if server.connections.count() >= limit {
        format!(" : the limit connections is {limit}; close another one, or choose a larger tier")
    } else {
        String::new()
    };
    format!("error:AT0012-Inbound connection limit exceeded{which}\n")
}

async fn turn_away<S>(server: &AtServer<S>, stream: &mut TlsStream<Records<TcpStream>>) {
    server.count_refused();
    tracing::warn!(
        connections = server.connections.count(),
        "refused a connection: no slot or no memory is left"
    );
    let _ = timeout(GOODBYE, async {
        stream.write_all(refusal(server).as_bytes()).await?;
        stream.flush().await
    })
    .await;
}
