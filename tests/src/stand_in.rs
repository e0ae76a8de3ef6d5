//! The server of an atSign, played by a test line by line: what comes to it is seen byte for byte, and what it answers may
//! be anything.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::client::Client;
use crate::secondary::{Credentials, Secondary};

/// A key made for tests; it protects nothing.
const SIGNING_KEY: &str = include_str!("../data/pkam-rsa.pkcs1.b64");

/// Its public half, as the protocol has it.
pub const SIGNING_PUBLIC_KEY: &str = include_str!("../data/pkam-rsa.spki.b64");

/// How long somebody is waited for, and his next line.
const PATIENCE: Duration = Duration::from_mins(1);

/// The place of an atSign's server.
pub struct StandIn {
    at_sign: String,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    credentials: Arc<Credentials>,
}

/// A server that has come to it.
pub struct Visitor {
    stream: StreamOwned<ServerConnection, TcpStream>,
    /// What has come and was not asked for yet.
    received: Vec<u8>,
}

impl StandIn {
    pub(crate) fn new(at_sign: &str, credentials: Arc<Credentials>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(credentials.authority().as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = credentials.pair()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
            .with_single_cert(vec![certificate], key)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self { at_sign: at_sign.to_owned(), listener, config: Arc::new(config), credentials })
    }

    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Waits for the next connection, greets, and returns it.
    pub fn visitor(&self) -> Result<Visitor> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error).context("nobody comes"),
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let tls = ServerConnection::new(Arc::clone(&self.config))?;
        let mut visitor = Visitor { stream: StreamOwned::new(tls, stream), received: Vec::new() };
        visitor.say("@")?;
        Ok(visitor)
    }

    /// Goes to another server, as this atSign's server, and reads its greeting.
    pub fn visit(&self, server: &Secondary) -> Result<Client> {
        let address = format!("127.0.0.1:{}", server.port);
        Client::connect_showing(&address, &self.credentials.authority(), self.credentials.pair()?)
    }

    /// Says whose server this is, and returns the name of the session and the text to sign.
    pub fn claim(&self, client: &mut Client) -> Result<(String, String)> {
        let answer = client.request(&format!("from:{}", self.at_sign))?;
        let proof = answer.strip_prefix("data:proof:").and_then(|rest| rest.strip_suffix("\n@"));
        let (session, proof) = proof
            .and_then(|proof| proof.split_once(&format!("{}:", self.at_sign)))
            .context(answer.clone())?;
        Ok((session.to_owned(), proof.to_owned()))
    }
}

impl Visitor {
    /// Writes bytes as they are, at once.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        Ok(self.stream.flush()?)
    }

    /// Waits for a line, which must be this one.
    pub fn hear(&mut self, expected: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line == expected, "it said {line:?}, and not {expected:?}");
        Ok(())
    }

    /// The next line, with its line feed.
    pub fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(end + 1);
                return Ok(String::from_utf8(std::mem::replace(&mut self.received, rest))?);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => bail!("it went away after {:?}", String::from_utf8_lossy(&self.received)),
                read => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }

    /// Waits until it has gone; it must not say anything more.
    pub fn is_gone(&mut self) -> Result<()> {
        let mut rest = std::mem::take(&mut self.received);
        match self.stream.read_to_end(&mut rest) {
            Err(error) if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Err(error.into())
            }
            _ if rest.is_empty() => Ok(()),
            _ => bail!("it said {:?}", String::from_utf8_lossy(&rest)),
        }
    }

    /// Whether it has shown a certificate.
    pub fn has_shown_a_certificate(&self) -> bool {
        self.stream.conn.peer_certificates().is_some_and(|chain| !chain.is_empty())
    }
}

/// A text signed by the key of every stand-in, base64.
pub fn sign(text: &str) -> Result<String> {
    let der = STANDARD.decode(SIGNING_KEY.replace('\n', ""))?;
    let pair = RsaKeyPair::from_der(&der).map_err(|error| anyhow!("{error}"))?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|error| anyhow!("{error}"))?;
    Ok(STANDARD.encode(signature))
}
