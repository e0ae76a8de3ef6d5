//! One connection to another server or to the directory: commands out, lines in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::AtSign;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PeerError;
use super::answers::{Address, Received};
use crate::memory::Lease;
use crate::{sockets, tls};

/// The most that is read at a time.
const STEP: usize = 4 * 1024;

/// What a byte of a long answer costs: the line, the value out of it, its copy, and the row that SQLite makes of that.
const COPIES: u64 = 4;

/// How long an answer waits for the memory that it needs.
const WAIT: Duration = Duration::from_secs(1);

/// Whom to connect to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) at_sign: &'a AtSign,
    pub(super) address: &'a Address,
}

/// A connection that has greeted. One request at a time; one that was given up in the middle must not be used again.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    /// What came and was not asked for yet: the prompt behind the last answer.
    received: Received,
}

impl Connection {
    /// Connects, checks the certificate against the host, and waits for the greeting.
    pub(super) async fn open(
        target: Target<'_>,
        tls: ClientConfig,
        patience: Duration,
    ) -> Result<Self, PeerError> {
        let Address { host, port } = target.address;
        let failed = |reason: String| PeerError::Connect {
            at_sign: target.at_sign.clone(),
            address: target.address.to_string(),
            reason,
        };
        let open = async {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let tcp = TcpStream::connect((host.as_str(), *port)).await?;
            sockets::bound_own(&tcp);
            tcp.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::new(tls));
            let stream = connector
                .connect_with(name, tcp, |connection| connection.set_buffer_limit(Some(tls::SEND_BUFFER)))
                .await?;
            let mut connection = Self { stream, received: Received::default() };
            while connection.received.count() == 0 {
                connection.read().await?;
            }
            Ok::<_, io::Error>(connection)
        };
        match timeout(patience, Box::pin(open)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("it does not answer".to_owned())),
        }
    }

    /// Sends a command and returns the line that answers it, without its line feed and the prompts.
    pub(super) async fn request(
        &mut self,
        command: &str,
        patience: Duration,
        longest: usize,
        room: Option<&mut Lease>,
    ) -> Result<String, PeerError> {
        let request = async {
            self.send(command).await?;
            self.line(longest, room).await
        };
        timeout(patience, request).await.map_err(|_| PeerError::Timeout)?
    }

    /// Whether it can be used for another request: the server says nothing that nobody asked for.
    pub(super) fn is_quiet(&self) -> bool {
        self.received.is_quiet()
    }

    /// Sends `pol` and waits until the server takes us for `own`.
    pub(super) async fn prove(&mut self, own: &AtSign, patience: Duration) -> Result<(), PeerError> {
        let prove = async {
            self.send("pol").await?;
            while !self.received.is_proven(own) {
                if let Some(line) = self.received.line()? {
                    return Err(PeerError::Handshake(line));
                }
                if self.received.count() > STEP {
                    return Err(PeerError::Garbled("the answer to pol is too long"));
                }
                self.read().await?;
            }
            Ok(())
        };
        timeout(patience, prove).await.map_err(|_| PeerError::Timeout)?
    }

    async fn send(&mut self, command: &str) -> io::Result<()> {
        let mut line = Vec::with_capacity(command.len() + 1);
        line.extend_from_slice(command.as_bytes());
        line.push(b'\n');
        self.stream.write_all(&line).await?;
        self.stream.flush().await
    }

    /// The next line. What it takes of memory is taken of `room` where there is one, else `longest` is little.
    async fn line(&mut self, longest: usize, mut room: Option<&mut Lease>) -> Result<String, PeerError> {
        loop {
            if let Some(line) = self.received.line()? {
                return Ok(line);
            }
            let come = self.received.count();
            if come > longest {
                return Err(PeerError::Garbled("it is too long"));
            }
            if let Some(room) = &mut room {
                let needed = (come + STEP) as u64 * COPIES;
                let more = needed.saturating_sub(room.bytes());
                if come > STEP && !room.grow_within(more, WAIT).await {
                    return Err(PeerError::NoRoom);
                }
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        let buffer = self.received.bytes();
        buffer.reserve_exact(STEP.min(buffer.len().max(64)));
        match self.stream.read_buf(buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
