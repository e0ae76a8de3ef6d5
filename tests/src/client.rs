//! A client of the atProtocol as bare as can be: one TLS connection, lines out, answers with their prompt in.
//!
//! It shows the bytes instead of hiding them, so that tests can say exactly what a server wrote.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sha2::{Digest as _, Sha512};

use crate::secondary::{HOST, Secondary};

/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the kernel may try one connection. A Service sends all tries of one to the same pod, also to one that has gone
/// just now; the next connection finds the new one.
const CONNECTING: Duration = Duration::from_secs(10);

/// A connection to a secondary server or to a directory.
pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// What the server writes behind each answer: `@`, or `@alice@` once logged in.
    prompt: String,
}

impl Client {
    /// Connects, checks the server's certificate against `ca` (PEM) and `host`, and reads the banner.
    pub fn connect(host: &str, port: u16, ca: &str) -> Result<Self> {
        let address =
            (host, port).to_socket_addrs()?.next().with_context(|| format!("{host} has no address"))?;
        Self::connect_to(&address.to_string(), host, ca)
    }

    /// Connects to `address`, checking the certificate against another name.
    pub fn connect_to(address: &str, server_name: &str, ca: &str) -> Result<Self> {
        let client = Self::handshake(address, server_name, ca, &[], None)?;
        client.greeted(server_name)
    }

    /// The same from another of this machine's addresses on loopback.
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr, server_name: &str, ca: &str) -> Result<Self> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
        rustix::net::connect(&socket, &address).with_context(|| format!("connect to {address}"))?;
        Self::shake_hands(socket.into(), server_name, ca, &[], None)?.greeted(server_name)
    }

    /// A connection as another atSign's server, which shows its certificate.
    pub(crate) fn connect_showing(
        address: &str,
        ca: &str,
        (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    ) -> Result<Self> {
        Self::handshake(address, HOST, ca, &[], Some((certificate, key)))?.greeted(HOST)
    }

    fn greeted(mut self, server_name: &str) -> Result<Self> {
        let client = &mut self;
        let banner = client.read_some()?;
        ensure!(banner == "@", "{server_name} greeted with {banner:?}, expected \"@\"");
        Ok(self)
    }

    /// A bare TLS connection that asks a secondary server for one of some protocols by ALPN.
    pub fn tls(server: &Secondary, protocols: &[&[u8]]) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let address = format!("127.0.0.1:{}", server.port);
        Ok(Self::handshake(&address, HOST, &server.authority(), protocols, None)?.stream)
    }

    fn handshake(
        address: &str,
        server_name: &str,
        ca: &str,
        protocols: &[&[u8]],
        own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Result<Self> {
        let place = address.to_socket_addrs()?.next().with_context(|| format!("{address} has no address"))?;
        let tcp = TcpStream::connect_timeout(&place, CONNECTING)
            .with_context(|| format!("connect to {address}"))?;
        Self::shake_hands(tcp, server_name, ca, protocols, own)
    }

    fn shake_hands(
        tcp: TcpStream,
        server_name: &str,
        ca: &str,
        protocols: &[&[u8]],
        own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match own {
            Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let tls = ClientConnection::new(Arc::new(config), ServerName::try_from(server_name.to_owned())?)?;
        let mut stream = StreamOwned::new(tls, tcp);
        stream.flush()?;
        Ok(Self { stream, prompt: "@".to_owned() })
    }

    /// The certificate that the server showed.
    pub fn certificate(&self) -> Result<CertificateDer<'static>> {
        let shown = self.stream.conn.peer_certificates().and_then(|chain| chain.first());
        Ok(shown.context("the server showed no certificate")?.clone())
    }

    /// What one read gives: with this server, one TLS record.
    pub fn read_some(&mut self) -> Result<String> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk).context("read the answer")?;
        ensure!(read > 0, "the server closed the connection");
        Ok(String::from_utf8_lossy(&chunk[..read]).into_owned())
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        Ok(self.stream.flush()?)
    }

    /// Sends a command and its line feed, and returns the answer with its prompt, byte for byte.
    pub fn request(&mut self, command: &str) -> Result<String> {
        self.send(format!("{command}\n").as_bytes())?;
        self.answer()
    }

    /// Reads one answer with its prompt.
    pub fn answer(&mut self) -> Result<String> {
        let mut answer = String::new();
        loop {
            answer.push_str(&self.read_some()?);
            let Some((_, prompt)) = answer.rsplit_once('\n') else { continue };
            // A failed login drops the connection back to the bare prompt, within one small write.
            if prompt == self.prompt
                || (answer.len() < 512 && prompt.starts_with('@') && prompt.ends_with('@'))
            {
                prompt.clone_into(&mut self.prompt);
                return Ok(answer);
            }
        }
    }

    /// Everything until the server closes the connection.
    pub fn rest(&mut self) -> Result<String> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            // A peer that closes without close_notify still ended the answer.
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => Ok(String::from_utf8_lossy(&rest).into_owned()),
        }
    }

    /// Asks for a challenge with `from` and returns it: `_<session>@alice:<proof>`.
    pub fn challenge(&mut self, at_sign: &str) -> Result<String> {
        let answer = self.request(&format!("from:{at_sign}"))?;
        let challenge = answer.strip_prefix("data:").and_then(|rest| rest.lines().next());
        Ok(challenge.with_context(|| format!("from:{at_sign} answered {answer:?}"))?.to_owned())
    }

    /// Logs in with the secret that the server was started with.
    pub fn cram(&mut self, at_sign: &str, secret: &str) -> Result<()> {
        let challenge = self.challenge(at_sign)?;
        let answer = self.request(&format!("cram:{}", digest(secret, &challenge)))?;
        if answer != format!("data:success\n{at_sign}@") {
            bail!("cram answered {answer:?}");
        }
        Ok(())
    }
}

/// What a challenge is answered with by `cram`.
pub fn digest(secret: &str, challenge: &str) -> String {
    let digest = Sha512::digest(format!("{secret}{challenge}"));
    digest.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
