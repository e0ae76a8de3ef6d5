//! The directory's certificate, read again whenever it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{info, warn};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads the certificate, and returns the TLS settings and what reads it again. Connections that are open keep the
/// certificate that they have seen.
pub fn load(certificate: &Path, key: &Path) -> Result<(Arc<ServerConfig>, impl Future<Output = ()> + use<>)> {
    let files = Files { certificate: certificate.into(), key: key.into() };
    let mut pem = files.read()?;
    let current = Arc::new(Current(RwLock::new(Arc::new(pem.parse(&files)?))));
    // No client is asked for a certificate.
    let config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::clone(&current) as _);
    let reload = async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            // A file that is not there is being replaced.
            let Ok(new) = files.read() else { continue };
            if new == pem {
                continue;
            }
            match new.parse(&files) {
                Ok(parsed) => {
                    info!(file = %files.certificate.display(), "presenting the new certificate");
                    *current.0.write().expect("no writer panics") = Arc::new(parsed);
                }
                Err(error) => warn!("still presenting the old certificate: {error:#}"),
            }
            pem = new;
        }
    };
    Ok((Arc::new(config), reload))
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("no writer panics")))
    }
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What the two files hold. Never printed: it has a key in it.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> Result<Pem> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        Ok(Pem { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }
}

impl Pem {
    fn parse(&self, files: &Files) -> Result<CertifiedKey> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .with_context(|| format!("{} holds no PEM certificate", files.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .ok()
            .with_context(|| format!("{} holds no PEM private key", files.key.display()))?;
        let key = any_supported_type(&key)
            .ok()
            .with_context(|| format!("{} is no RSA, ECDSA or Ed25519 key", files.key.display()))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().with_context(|| {
            format!("{} and {} do not belong together", files.certificate.display(), files.key.display())
        })?;
        Ok(certified)
    }
}
