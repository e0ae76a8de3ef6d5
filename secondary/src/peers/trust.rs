//! Whom we trust: the public roots, and those of `--peer-ca`, which are read again when their file changes.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

/// The file is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A file of certificates is never larger.
const MAX_FILE: u64 = 1024 * 1024;

/// The roots of trust in other servers.
pub(super) struct Trust {
    peer_ca: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    current: Mutex<Option<Current>>,
}

struct Current {
    roots: Arc<RootCertStore>,
    seen: Option<(u64, u64, i64)>,
    looked: Instant,
}

impl Trust {
    pub(super) fn new(peer_ca: Option<PathBuf>) -> Self {
        Self {
            peer_ca,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            current: Mutex::new(None),
        }
    }

    /// The settings for a connection to another server, which is shown `own`.
    pub(super) fn client_config(
        &self,
        own: Option<Arc<CertifiedKey>>,
    ) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(self.roots());
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => builder.with_no_client_auth(),
        };
        // Connections are kept instead; what resumption would remember stays in memory for nothing.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// Whether a client's certificates are those of the server at `host`: signed by whom we trust, and with that name
    /// in them. The same certificate serves both ways, so it is held against the rules for servers: public authorities
    /// no longer make others.
    pub(super) fn names(&self, chain: &[CertificateDer<'_>], host: &str) -> bool {
        let Some((leaf, rest)) = chain.split_first() else { return false };
        let Ok(name) = ServerName::try_from(host) else { return false };
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots(), Arc::clone(&self.provider)).build();
        verifier.is_ok_and(|verifier| {
            verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now()).is_ok()
        })
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &mut *current
            && current.looked.elapsed() < LOOK_EVERY
        {
            return Arc::clone(&current.roots);
        }
        let seen = self.stamp();
        if let Some(current) = &mut *current
            && current.seen == seen
        {
            current.looked = Instant::now();
            return Arc::clone(&current.roots);
        }
        let roots = Arc::new(self.read());
        *current = Some(Current { roots: Arc::clone(&roots), seen, looked: Instant::now() });
        roots
    }

    fn stamp(&self) -> Option<(u64, u64, i64)> {
        let metadata = std::fs::metadata(self.peer_ca.as_ref()?).ok()?;
        Some((metadata.ino(), metadata.size(), metadata.mtime()))
    }

    fn read(&self) -> RootCertStore {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let Some(path) = &self.peer_ca else { return roots };
        let read = match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > MAX_FILE => Err(std::io::Error::other("it is too large")),
            Ok(_) => std::fs::read(path),
            Err(error) => Err(error),
        };
        match read {
            Ok(pem) => {
                let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
                let (added, ignored) = roots.add_parsable_certificates(certificates);
                tracing::debug!(added, ignored, "read the authorities of other servers");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the authorities of other servers cannot be read");
            }
        }
        roots
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_client_is_the_server_that_its_certificate_names_if_we_trust_who_signed_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
        };
        let (ours, other) = (authority("ours"), authority("other"));
        std::fs::write(folder.path().join("ca"), ours.pem()).expect("written");
        let trust = Trust::new(Some(folder.path().join("ca")));
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["bob.example.com".to_owned()]).expect("parameters");
        let good = [params.clone().signed_by(&key, &ours).expect("a certificate").der().clone()];
        let bad = [params.signed_by(&key, &other).expect("a certificate").der().clone()];
        assert!(trust.names(&good, "bob.example.com"));
        assert!(!trust.names(&good, "b.example.com"));
        assert!(!trust.names(&bad, "bob.example.com"));
        assert!(!trust.names(&[], "bob.example.com"));
    }
}
