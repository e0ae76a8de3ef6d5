//! Connections to other servers: found, proven, kept for the next request, and bounded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atsign_protocol::AtSign;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::answers::{self, Address};
use super::connection::{Connection, Target};
use super::directory::Directory;
use super::proofs::Proofs;
use super::trust::Trust;
use super::{PeerError, Signing};
use crate::memory::Lease;

/// Connections that are kept though nobody uses them.
const IDLE: usize = 8;

/// How long: a second less than a server leaves a silent client, so that we close first.
const IDLE_TIME: Duration = Duration::from_secs(599);

/// Requests to one server at a time.
const PER_PEER: usize = 2;

/// Requests at a time, of each purpose.
const TURNS: [usize; 3] = [8, 16, 4];

/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// How long each step of connecting may take.
const STEP: Duration = Duration::from_secs(3);

/// What a request is for. Each has its own bound, so that none waits for another: two servers that prove themselves to
/// each other at the same time would wait for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For the owner, who waits.
    Lookup,
    /// To deliver a notification.
    Delivery,
    /// To see whether another server is who it says it is.
    Verification,
}

/// What another server answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The line.
    pub(crate) line: String,
    /// Where the server is.
    pub(crate) address: String,
}

/// The other servers, as one server asks them.
pub struct Peers {
    own: AtSign,
    directory: Directory,
    trust: Trust,
    /// Whether certificates are shown to others and asked of them.
    certificates: bool,
    pub(crate) signing: Signing,
    pub(crate) proofs: Proofs,
    idle: Mutex<Vec<Idle>>,
    turns: [Arc<Semaphore>; 3],
    per_peer: Mutex<HashMap<AtSign, Arc<Semaphore>>>,
    /// Clients whose claim is looked up at a time: they are strangers, and the owner wants to look up too.
    claims: Semaphore,
}

struct Idle {
    at_sign: AtSign,
    proven: bool,
    address: Address,
    connection: Connection,
    since: Instant,
}

impl Purpose {
    fn patience(self) -> Duration {
        match self {
            Self::Lookup => Duration::from_secs(5),
            Self::Delivery => Duration::from_secs(10),
            Self::Verification => STEP,
        }
    }

    /// The longest answer, bytes. The owner's requests may bring what he himself may store.
    fn longest(self) -> usize {
        match self {
            Self::Lookup => 10_240_000,
            Self::Delivery | Self::Verification => 16 * 1024,
        }
    }
}

impl Peers {
    /// `directory` is `host:port`, or `proxy:host:port` where every server is behind one address; `peer_ca` holds
    /// authorities to trust beside the public ones. With `certificates` this server shows its own to others, and wants
    /// to see theirs.
    pub fn new(own: AtSign, directory: &str, peer_ca: Option<PathBuf>, certificates: bool) -> Self {
        Self {
            own,
            directory: Directory::new(directory),
            trust: Trust::new(peer_ca),
            certificates,
            signing: Signing::default(),
            proofs: Proofs::default(),
            idle: Mutex::default(),
            turns: TURNS.map(|most| Arc::new(Semaphore::new(most))),
            per_peer: Mutex::default(),
            claims: Semaphore::new(2),
        }
    }

    /// How many connections to others are open: those in use, and those kept for the next request.
    pub fn connections(&self) -> usize {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).len();
        let free: usize = self.turns.iter().map(|turns| turns.available_permits()).sum();
        kept + TURNS.iter().sum::<usize>() - free
    }

    /// Whether this server shows its certificate to others.
    pub fn shows_certificate(&self) -> bool {
        self.certificates
    }

    /// Whether a client that claims to be `at_sign` showed the certificate of that atSign's server.
    pub(crate) async fn certifies(
        &self,
        chain: &[CertificateDer<'_>],
        at_sign: &AtSign,
    ) -> Result<bool, PeerError> {
        if !self.certificates {
            return Ok(true);
        }
        if chain.is_empty() {
            return Ok(false);
        }
        let _turn = timeout(TURN, self.claims.acquire()).await.map_err(|_| PeerError::Busy)?;
        let address = self.directory.find(at_sign, &self.tls(None)?).await?;
        Ok(self.trust.names(chain, &address.host))
    }

    /// Sends a command to the server of an atSign, which with `own` knows that it is from us, and returns its answer, for
    /// which memory is taken of `room` where it may be long.
    pub(crate) async fn request(
        &self,
        at_sign: &AtSign,
        own: Option<Arc<CertifiedKey>>,
        purpose: Purpose,
        command: &str,
        mut room: Option<&mut Lease>,
    ) -> Result<Answered, PeerError> {
        let _turns = timeout(TURN, self.turn(at_sign, purpose)).await.map_err(|_| PeerError::Busy)??;
        let proven = own.is_some();
        if let Some(idle) = self.take(at_sign, proven) {
            match self.use_once(idle, purpose, command, room.as_deref_mut()).await {
                // It died while nobody looked.
                Err(PeerError::Broken(_)) => {}
                done => return done,
            }
        }
        let idle = Box::pin(self.connect(at_sign, own)).await?;
        self.use_once(idle, purpose, command, room).await
    }

    /// Closes what was not used for long.
    pub(crate) fn tidy(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|idle| idle.since.elapsed() < IDLE_TIME);
    }

    /// A request's places: one of its purpose, and one at that server.
    async fn turn(
        &self,
        at_sign: &AtSign,
        purpose: Purpose,
    ) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), PeerError> {
        let busy = |_| PeerError::Busy;
        let peer = match purpose {
            Purpose::Verification => None,
            Purpose::Lookup | Purpose::Delivery => {
                let semaphore = {
                    let mut peers = self.per_peer.lock().unwrap_or_else(PoisonError::into_inner);
                    peers.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
                    let new = || Arc::new(Semaphore::new(PER_PEER));
                    Arc::clone(peers.entry(at_sign.clone()).or_insert_with(new))
                };
                Some(semaphore.acquire_owned().await.map_err(busy)?)
            }
        };
        let turn = Arc::clone(&self.turns[purpose as usize]).acquire_owned().await.map_err(busy)?;
        Ok((turn, peer))
    }

    /// One request on a connection that is kept if it was answered, and nothing else was said.
    async fn use_once(
        &self,
        mut idle: Idle,
        purpose: Purpose,
        command: &str,
        room: Option<&mut Lease>,
    ) -> Result<Answered, PeerError> {
        let line = idle.connection.request(command, purpose.patience(), purpose.longest(), room).await?;
        let address = idle.address.to_string();
        if !idle.connection.is_quiet() {
            return Ok(Answered { line, address });
        }
        idle.since = Instant::now();
        let mut kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|idle| idle.since.elapsed() < IDLE_TIME);
        if kept.len() >= IDLE {
            kept.remove(0);
        }
        kept.push(idle);
        Ok(Answered { line, address })
    }

    fn take(&self, at_sign: &AtSign, proven: bool) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().rposition(|idle| idle.proven == proven && idle.at_sign == *at_sign)?;
        let found = idle.remove(found);
        (found.since.elapsed() < IDLE_TIME).then_some(found)
    }

    async fn connect(&self, at_sign: &AtSign, own: Option<Arc<CertifiedKey>>) -> Result<Idle, PeerError> {
        let proven = own.is_some();
        let tls = self.tls(own)?;
        let mut address = self.directory.find(at_sign, &tls).await?;
        let opened = Connection::open(Target { at_sign, address: &address }, tls.clone(), STEP).await;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(error) => {
                // It may have moved.
                self.directory.forget(at_sign);
                let now = self.directory.find(at_sign, &tls).await?;
                if now == address {
                    return Err(error);
                }
                address = now;
                Connection::open(Target { at_sign, address: &address }, tls, STEP).await?
            }
        };
        if proven {
            self.prove(&mut connection, at_sign).await?;
        }
        Ok(Idle { at_sign: at_sign.clone(), proven, address, connection, since: Instant::now() })
    }

    /// The client's side of the handshake: the proof is signed, and can be fetched from us until it was checked.
    async fn prove(&self, connection: &mut Connection, to: &AtSign) -> Result<(), PeerError> {
        let answer = connection.request(&format!("from:{}", self.own), STEP, 4096, None).await?;
        let (session, text) = answers::challenge(&answer)?;
        if !answers::is_for(text, to) {
            return Err(PeerError::Handshake("its challenge is for another server".to_owned()));
        }
        let signature = self.signing.sign(text).await?;
        let _shown = self.proofs.show(session, signature);
        // The other side looks us up, calls back and asks twice, each within its own patience.
        connection.prove(&self.own, STEP * 3).await
    }

    fn tls(&self, own: Option<Arc<CertifiedKey>>) -> Result<rustls::ClientConfig, PeerError> {
        let own = own.filter(|_| self.certificates);
        self.trust.client_config(own).map_err(|error| PeerError::Broken(std::io::Error::other(error)))
    }
}
