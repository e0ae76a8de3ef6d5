//! TLS: versions, and certificates that change while the server runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use atsign_tests::secondary::Secondary;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::alice;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// The settings of a client that speaks one version, with a certificate of nobody that the server knows, or none.
fn settings(
    server: &Secondary,
    version: &'static SupportedProtocolVersion,
    client_certificate: bool,
) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.authority().as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots);
    Ok(Arc::new(if client_certificate {
        let made = rcgen::generate_simple_self_signed(["bob.example".to_owned()])?;
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes())?;
        config.with_client_auth_cert(vec![made.cert.der().clone()], key)?
    } else {
        config.with_no_client_auth()
    }))
}

/// A connection that has read the greeting.
fn connect(server: &Secondary, settings: &Arc<ClientConfig>) -> Result<Stream> {
    let tcp = TcpStream::connect(("127.0.0.1", server.port))?;
    tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
    let connection = ClientConnection::new(Arc::clone(settings), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(connection, tcp);
    let mut greeting = [0; 1];
    stream.read_exact(&mut greeting)?;
    assert_eq!(&greeting, b"@");
    Ok(stream)
}

fn handshake(
    server: &Secondary,
    version: &'static SupportedProtocolVersion,
    client_certificate: bool,
) -> Result<Stream> {
    connect(server, &settings(server, version, client_certificate)?)
}

#[test]
fn a_client_that_comes_again_resumes_its_session() -> Result<()> {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for certificate in [false, true] {
            let settings = settings(alice(), version, certificate)?;
            let kinds = (0..3).map(|_| Ok(connect(alice(), &settings)?.conn.handshake_kind()));
            let kinds: Vec<_> = kinds.collect::<Result<_>>()?;
            assert_eq!(
                kinds,
                [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed), Some(HandshakeKind::Resumed)],
                "{version:?}, client certificate: {certificate}"
            );
        }
    }
    Ok(())
}

fn presented(stream: &Stream) -> Result<Vec<u8>> {
    Ok(stream.conn.peer_certificates().and_then(<[_]>::first).context("a server certificate")?.to_vec())
}

#[test]
fn both_versions_are_spoken_with_and_without_a_client_certificate() -> Result<()> {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for certificate in [false, true] {
            let mut stream = handshake(alice(), version, certificate)?;
            stream.write_all(b"noop:0\n")?;
            let mut answer = [0; 9];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"data:ok\n@", "{version:?}, client certificate: {certificate}");
        }
    }
    Ok(())
}

#[test]
fn what_is_not_tls_is_not_answered_and_harms_nobody() -> Result<()> {
    let mut tcp = TcpStream::connect(("127.0.0.1", alice().port))?;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    // A TLS alert at most, and the end.
    let _ = tcp.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP") && !answer.contains(&b'@'), "{answer:?}");
    assert_eq!(alice().connect()?.request("noop:0")?, "data:ok\n@");
    Ok(())
}

#[test]
fn a_new_certificate_is_presented_while_old_connections_stay() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let mut old = server.connect()?;
    let before = presented(&handshake(&server, &rustls::version::TLS13, false)?)?;
    server.renew_certificate()?;
    let renewed = Instant::now();
    while presented(&handshake(&server, &rustls::version::TLS13, false)?)? == before {
        assert!(renewed.elapsed() < Duration::from_secs(10), "the old certificate is still presented");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(old.request("noop:0")?, "data:ok\n@");
    Ok(())
}

#[test]
fn a_bad_certificate_leaves_the_old_one_in_place() -> Result<()> {
    let server = Secondary::start("@grace")?;
    let before = presented(&handshake(&server, &rustls::version::TLS13, false)?)?;
    std::fs::write(server.folder.join("tls.crt"), "no certificate")?;
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(presented(&handshake(&server, &rustls::version::TLS13, false)?)?, before);
    // Log lines are written behind the server's back.
    let start = Instant::now();
    while !server.log().contains("keeping the old certificate") {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
