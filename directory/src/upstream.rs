//! Another atDirectory, asked for the atSigns that are not ours.
//!
//! The root server delays its answer to the second unknown atSign of a connection and closes at the third. So a
//! connection that was told of one is not used again, and what is unknown is remembered for a while.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use atsign_protocol::AtSign;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use crate::addresses::Found;
use crate::metrics::{Answered, Asked, Metrics};
use crate::recent::Recent;
use crate::record;

/// Connections at a time; more questions wait for one.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection is kept while nothing is asked: less than the ten minutes of the reference server.
const IDLE: Duration = Duration::from_mins(1);
/// Answers that are remembered.
const REMEMBERED: usize = 10_000;
/// How long an address is given without asking again.
const FRESH: Duration = Duration::from_mins(1);
/// How long an unknown atSign stays unknown without asking again: its owner waits for it.
const FRESH_UNKNOWN: Duration = Duration::from_secs(10);
/// How long an address is good while upstream is away.
const STALE: Duration = Duration::from_mins(15);
/// The longest answer.
const MAX_ANSWER: usize = 512;

/// The other directory.
#[derive(Debug)]
pub struct Upstream {
    address: String,
    host: ServerName<'static>,
    connector: Connector,
    timeout: Duration,
    turns: Semaphore,
    idle: Mutex<Vec<(TlsStream<TcpStream>, Instant)>>,
    recent: Recent<Option<String>>,
    metrics: Arc<Metrics>,
}

struct Connector(TlsConnector);

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Connector")
    }
}

impl Upstream {
    /// What asks the directory at `address`, `host:port`; nothing is connected yet. Its certificate must be for that
    /// host, by a public authority or one of the file `ca`.
    ///
    /// # Errors
    /// `address` is no host and port, or `ca` holds no certificates.
    pub fn new(address: &str, ca: Option<&Path>, timeout: Duration, metrics: Arc<Metrics>) -> Result<Self> {
        let host = address
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
            .and_then(|(host, _)| ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok())
            .with_context(|| format!("--upstream: {address:?} is no host:port"))?;
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(file) = ca {
            let pem = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.ok().with_context(|| format!("{} is no PEM", file.display()))?)?;
            }
            anyhow::ensure!(roots.len() > before, "{} holds no PEM certificate", file.display());
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            address: address.to_owned(),
            host,
            connector: Connector(TlsConnector::from(Arc::new(config))),
            timeout,
            turns: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::default(),
            recent: Recent::new(REMEMBERED),
            metrics,
        })
    }

    /// What the other directory says of `at_sign`, now or lately.
    pub async fn find(&self, at_sign: &AtSign) -> Found {
        let name = at_sign.name();
        let remembered = self.recent.recall(name, Instant::now());
        match &remembered {
            Some((Some(address), age)) if *age <= FRESH => {
                self.metrics.remembered(Asked::upstream);
                return Found::Address(address.clone());
            }
            Some((None, age)) if *age <= FRESH_UNKNOWN => {
                self.metrics.remembered(Asked::upstream);
                return Found::Unknown;
            }
            _ => {}
        }
        let asked = timeout(self.timeout, async {
            let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
            self.ask(name).await
        });
        let error = match asked.await {
            Ok(Ok(answer)) => {
                self.recent.remember(name, answer.clone(), Instant::now());
                let answered = if answer.is_some() { Answered::found } else { Answered::unknown };
                self.metrics.asked_elsewhere(Asked::upstream, answered);
                return answer.map_or(Found::Unknown, Found::Address);
            }
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        warn!(upstream = self.address, "no answer: {error:#}");
        self.metrics.asked_elsewhere(Asked::upstream, Answered::failed);
        match remembered {
            Some((Some(address), age)) if age <= STALE => {
                self.metrics.remembered(Asked::upstream);
                Found::Address(address)
            }
            _ => Found::Unavailable,
        }
    }

    /// The address that upstream gives for `name`; `None` where it says that there is none.
    async fn ask(&self, name: &str) -> Result<Option<String>> {
        let kept = self.kept();
        let was_kept = kept.is_some();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let answer = match question(&mut stream, name).await {
            // Whoever keeps a connection learns of its end when it asks.
            Err(_) if was_kept => {
                stream = self.connect().await?;
                question(&mut stream, name).await?
            }
            answer => answer?,
        };
        let address = record::answer(&answer).map_err(anyhow::Error::msg)?;
        if address.is_some() {
            self.idle.lock().expect("no holder panics").push((stream, Instant::now()));
        }
        Ok(address)
    }

    /// A connection that waits for a question. There are never more than turns: each was put back by its turn.
    fn kept(&self) -> Option<TlsStream<TcpStream>> {
        let mut idle = self.idle.lock().expect("no holder panics");
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(stream, _)| stream)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut stream = self.connector.0.connect(self.host.clone(), stream).await.context("TLS")?;
        anyhow::ensure!(
            stream.read_u8().await.context("the banner")? == b'@',
            "it greets as no directory does"
        );
        Ok(stream)
    }
}

/// One question and its answer, line end and prompt included.
async fn question(stream: &mut TlsStream<TcpStream>, name: &str) -> Result<Vec<u8>> {
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n@") {
        anyhow::ensure!(answer.len() < MAX_ANSWER, "the answer does not end");
        anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "it closed the connection");
    }
    Ok(answer)
}
