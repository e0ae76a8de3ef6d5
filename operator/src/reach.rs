//! Whether clients reach a server: a TLS handshake through its Service, which shows whether its certificate is for the
//! name that clients use. A pod that is ready says neither: the node's proxy may not know of it yet, and a new
//! certificate takes the kubelet a minute.
//!
//! It is asked only until the answer is yes, so a server that is ready costs nothing.

use std::sync::Arc;
use std::time::Duration;

use atsign_crds::AtSign;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::build::{Applied, Resources};
use crate::condition::Because;
use crate::context::Context;
use crate::dereference::Observed;
use crate::leaf::{self, Unfit};
use crate::status;
use crate::validate::Server;

/// How long one handshake may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a Service that refuses is tried in one look, and the pause between: a node's proxy needs a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Why clients do not reach a server.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The Service has no address yet.
    #[error("it has no address")]
    NoAddress,
    /// Nobody answers.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It took too long.
    #[error("no answer in {PATIENCE:?}")]
    Late,
    /// The certificate is for others.
    #[error("{0}")]
    Certificate(Unfit),
}

/// Looks, if it is not known already. What stands in the way, if anything does.
pub async fn look(
    context: &Context,
    at_sign: &AtSign,
    server: &Server,
    observed: &Observed,
    applied: &Resources<Applied>,
) -> Result<(), Because> {
    let known = at_sign.status.as_ref().is_some_and(|status| {
        status::ready_of(status).is_some_and(|(ready, _)| ready == "True")
            && status.address == server.exposure.address(&applied.service)
    });
    if context.options.trust_readiness
        || known
        || server.suspend
        || !status::is_available(&applied.deployment, observed.deployment.as_ref())
    {
        return Ok(());
    }
    let Some(host) = &server.exposure.host else { return Ok(()) };
    through(&applied.service, host).await.map_err(|why| because(&why, server, host, context))
}

fn because(why: &Error, server: &Server, host: &str, context: &Context) -> Because {
    let (namespace, name) = (&server.namespace, &server.name);
    match why {
        Error::Certificate(why) => Because::new(
            "WaitingForCertificate",
            format!(
                "waiting until the server presents a certificate for {host} (of the present one: {why}); the node brings a new one within two minutes"
            ),
        ),
        _ => Because::new(
            "WaitingForService",
            format!(
                "the pod is ready, but Service {name} does not answer the operator ({why}); if that lasts, see `kubectl describe service -n {namespace} {name}`, and whether network policies keep namespace {} from it",
                context.options.namespace
            ),
        ),
    }
}

async fn through(service: &Service, host: &str) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match timeout(PATIENCE, handshake(service, host)).await.unwrap_or(Err(Error::Late)) {
            Err(Error::Io(_)) if tries < TRIES => sleep(PAUSE).await,
            settled => return settled,
        }
    }
}

async fn handshake(service: &Service, host: &str) -> Result<(), Error> {
    let spec = service.spec.as_ref().ok_or(Error::NoAddress)?;
    let address = spec.cluster_ip.as_deref().ok_or(Error::NoAddress)?;
    let port = spec.ports.iter().flatten().next().and_then(|port| u16::try_from(port.port).ok());
    let port = port.ok_or(Error::NoAddress)?;
    let stream = TcpStream::connect((address, port)).await?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let judge = Arc::new(Judge { host: host.to_owned(), provider: provider.clone(), now: Timestamp::now() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(judge)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(_) => Ok(()),
        Err(error) => match refused(&error) {
            Some(unfit) => Err(Error::Certificate(unfit)),
            None => Err(error.into()),
        },
    }
}

/// Looks at nothing but names and times: who must have signed a certificate is for clients to judge, and an owner may
/// keep one of an authority that only they know. Nothing is sent to the server, and nothing it says is believed.
#[derive(Debug)]
struct Judge {
    host: String,
    provider: Arc<CryptoProvider>,
    now: Timestamp,
}

impl Judge {
    fn judge(&self, certificate: &[u8]) -> Result<(), Unfit> {
        leaf::presented_serves(certificate, &self.host, self.now)
    }
}

/// What was wrong with the certificate, if that is what ended a handshake.
fn refused(error: &std::io::Error) -> Option<Unfit> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error else {
        return None;
    };
    other.0.downcast_ref::<Unfit>().cloned()
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.judge(end_entity) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(unfit) => {
                let other = rustls::OtherError(Arc::new(unfit));
                Err(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::authority::Authority;
    use atsign_tests::ports;

    /// A server that presents a certificate for `name`, of an authority that nobody knows; and the Service before it.
    async fn server(name: &str) -> Service {
        let now = Timestamp::now();
        let leaf = Authority::generate(now).and_then(|authority| authority.issue(&[name.to_owned()], now));
        let leaf = leaf.expect("a certificate");
        let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes()).map(|one| one.expect("PEM"));
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain.collect(), key))
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        service(port)
    }

    fn service(port: u16) -> Service {
        let service = json!({"spec": {"clusterIP": "127.0.0.1", "ports": [{"port": port}]}});
        serde_json::from_value(service).expect("a Service")
    }

    #[tokio::test]
    async fn a_server_is_reached_once_it_presents_a_certificate_for_the_name() {
        let service = server("alice.example.com").await;
        through(&service, "alice.example.com").await.expect("it is for her");
        let why = through(&service, "bob.example.com").await.expect_err("it is not for bob");
        assert!(
            matches!(&why, Error::Certificate(Unfit::Name(name)) if name == "bob.example.com"),
            "{why:?}"
        );
        let balanced = server("127.0.0.1").await;
        through(&balanced, "127.0.0.1").await.expect("an address is a name like others");
    }

    #[tokio::test]
    async fn a_service_with_nobody_behind_it_is_not_reached() {
        let [nobody] = ports::free().expect("a port");
        let why = through(&service(nobody), "alice.example.com").await.expect_err("nobody listens");
        assert!(matches!(why, Error::Io(_)), "{why:?}");
        let why = through(&Service::default(), "alice.example.com").await.expect_err("no address");
        assert!(matches!(why, Error::NoAddress), "{why:?}");
    }
}
