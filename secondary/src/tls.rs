//! What the server presents to clients: certificate and key, read again when their files change.
//!
//! Memory: sessions are resumed by tickets, which the clients keep and this server only encrypts, so a closed connection
//! leaves nothing behind. An open one may hold [`SEND_BUFFER`] bytes that wait for a slow reader, and one record of 16 KiB that came in.

mod replacing;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use atsign_protocol::Millis;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::Ticketer;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::time::Instant;

use crate::web;
use replacing::Candidate;
pub use replacing::Worse;

/// Bytes of TLS records that may wait to be sent on one connection: a full record and what it costs to encrypt it.
pub const SEND_BUFFER: usize = 17 * 1024;

/// What a client may ask for by ALPN that could as well ask for nothing.
const ATPROTOCOL: &[u8] = b"atProtocol/1.0";

/// Files are looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate chain or key file is never larger.
const MAX_FILE: u64 = 256 * 1024;

/// Bytes of the certificates that a client may show.
const MAX_CLIENT_CHAIN: usize = 12 * 1024;

/// The server's certificate and key, and the TLS settings made of them.
#[derive(Debug)]
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    /// The file with the host that clients come to.
    host: Option<PathBuf>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    pair: Arc<CertifiedKey>,
    not_after: i64,
    /// The files as they were when they were last read, with or without success.
    seen: Stamps,
    looked: Instant,
}

/// Why certificate and key cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, too large, or not PEM.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system or the parser said.
        reason: String,
    },
    /// The certificate is not one.
    #[error("the first certificate in {0} is no X.509 certificate")]
    NotX509(PathBuf),
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// Clients would refuse it.
    #[error(transparent)]
    Worse(#[from] Worse),
}

impl Certificates {
    /// Reads both files. Where `host` is a file that names the host that clients come to, later pairs must too.
    pub fn load(certificate: PathBuf, key: PathBuf, host: Option<PathBuf>) -> Result<Self, TlsError> {
        let seen = Stamps::of(&certificate, &key, host.as_deref());
        let (config, pair, not_after) = read(&certificate, &key)?;
        let current = Mutex::new(Current { config, pair, not_after, seen, looked: Instant::now() });
        Ok(Self { certificate, key, host, current })
    }

    /// The settings for the next connection. Looks at the files if the last look was two seconds ago; open
    /// connections are not touched, and a pair that cannot be served, or that clients would refuse, leaves the old one in
    /// place.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.look().config)
    }

    /// What it shows to servers that it connects to: the same certificate.
    pub fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.look().pair)
    }

    /// When the presented certificate ends, Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.look().not_after
    }

    /// When the files of the pair were changed last, Unix milliseconds: certificate, key.
    pub fn modified(&self) -> [Option<Millis>; 2] {
        self.look().seen.modified()
    }

    /// Looks at the files, however long ago the last look was.
    pub fn look_now(&self) {
        drop(self.look_after(Duration::ZERO));
    }

    fn look(&self) -> MutexGuard<'_, Current> {
        self.look_after(LOOK_EVERY)
    }

    fn look_after(&self, pause: Duration) -> MutexGuard<'_, Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= pause {
            current.looked = Instant::now();
            let seen = Stamps::of(&self.certificate, &self.key, self.host.as_deref());
            if seen != current.seen {
                current.seen = seen;
                match self.read_better(&current) {
                    Ok((config, pair, not_after)) => {
                        tracing::info!(not_after, "presenting the new certificate");
                        (current.config, current.pair, current.not_after) = (config, pair, not_after);
                    }
                    Err(error) => tracing::warn!(%error, "keeping the old certificate"),
                }
            }
        }
        current
    }

    fn read_better(&self, current: &Current) -> Result<Read, TlsError> {
        let read = read(&self.certificate, &self.key)?;
        let host = self.host.as_deref().and_then(|file| std::fs::read_to_string(file).ok());
        let host = host.as_deref().map(str::trim).filter(|host| !host.is_empty());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let (Some(old), Some(new)) = (current.pair.cert.first(), read.1.cert.first()) {
            let old = Candidate { leaf: old, not_after: current.not_after };
            let new = Candidate { leaf: new, not_after: read.2 };
            replacing::may_replace(old, new, host, i64::try_from(now).unwrap_or(i64::MAX))?;
        }
        Ok(read)
    }
}

/// What tells that a file is another one than before. Kubernetes swaps a symlink above it, so the inode changes.
#[derive(Debug, PartialEq, Eq)]
struct Stamps([Option<(u64, u64, i64, i64)>; 3]);

impl Stamps {
    fn of(certificate: &Path, key: &Path, host: Option<&Path>) -> Self {
        Self([Some(certificate), Some(key), host].map(|path| {
            let metadata = std::fs::metadata(path?).ok()?;
            Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
        }))
    }

    fn modified(&self) -> [Option<Millis>; 2] {
        let [certificate, key, _] =
            self.0.map(|stamp| stamp.map(|(_, _, seconds, nanos)| seconds * 1000 + nanos / 1_000_000));
        [certificate, key]
    }
}

type Read = (Arc<ServerConfig>, Arc<CertifiedKey>, i64);

fn read(certificate: &Path, key: &Path) -> Result<Read, TlsError> {
    let wrong = |path: &Path, reason: String| TlsError::File { path: path.to_owned(), reason };
    let pem = |path: &Path| {
        let metadata = std::fs::metadata(path).map_err(|error| wrong(path, error.to_string()))?;
        if metadata.len() > MAX_FILE {
            return Err(wrong(path, format!("it is larger than {MAX_FILE} bytes")));
        }
        std::fs::read(path).map_err(|error| wrong(path, error.to_string()))
    };
    let chain = CertificateDer::pem_slice_iter(&pem(certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(certificate, error.to_string()))?;
    let leaf = chain.first().ok_or_else(|| wrong(certificate, "no certificate in it".to_owned()))?;
    let not_after = x509_parser::parse_x509_certificate(leaf)
        .map_err(|_| TlsError::NotX509(certificate.to_owned()))?
        .1
        .validity()
        .not_after
        .timestamp();
    let key = PrivateKeyDer::from_pem_slice(&pem(key)?).map_err(|error| wrong(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = Arc::new(CertifiedKey::from_der(chain, key, &provider)?);
    Ok((Arc::new(config(Arc::clone(&pair), provider)?), pair, not_after))
}

fn config(pair: Arc<CertifiedKey>, provider: Arc<CryptoProvider>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(AnyClient { provider }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    // One is enough for a client that comes again; with the next handshake it gets the next one. A new certificate
    // brings new keys for the tickets, so that everybody sees it.
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.alpn_protocols = vec![ATPROTOCOL.to_vec(), web::PROTOCOL.to_vec()];
    Ok(config)
}

/// Asks for a client certificate, requires none and takes any: the atProtocol judges it later, by the atSign that the
/// client claims (reference page section 1.1). That the client holds its key is still proved.
#[derive(Debug)]
struct AnyClient {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // They are kept as long as the connection, and a stranger may have sent them.
        let size =
            end_entity.len() + intermediates.iter().map(|certificate| certificate.len()).sum::<usize>();
        if size > MAX_CLIENT_CHAIN {
            return Err(rustls::Error::General("the client's certificates are too large".to_owned()));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that holds a certificate of so many days and its key.
    fn write_pair(folder: &Path, year: i32) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).expect("a certificate");
        let paths = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&paths.0, certificate.pem()).expect("written");
        std::fs::write(&paths.1, key.serialize_pem()).expect("written");
        paths
    }

    fn year(certificates: &Certificates) -> String {
        atsign_protocol::time::print(certificates.not_after() * 1000)[..4].to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_pair_is_presented_two_seconds_later_at_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = write_pair(folder.path(), 2040);
        let certificates = Certificates::load(certificate, key, None).expect("a pair");
        let before = certificates.server_config();
        write_pair(folder.path(), 2041);
        assert_eq!(year(&certificates), "2040", "files are not looked at all the time");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(year(&certificates), "2041");
        assert!(!Arc::ptr_eq(&before, &certificates.server_config()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_behind_a_swapped_link_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, year) in [("one", 2040), ("two", 2041)] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
            write_pair(&folder.path().join(name), year);
        }
        let data = folder.path().join("..data");
        std::os::unix::fs::symlink("one", &data).expect("a link");
        let certificates =
            Certificates::load(data.join("tls.crt"), data.join("tls.key"), None).expect("a pair");
        std::os::unix::fs::symlink("two", folder.path().join("..new")).expect("a link");
        std::fs::rename(folder.path().join("..new"), &data).expect("swapped");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(year(&certificates), "2041");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_pair_leaves_the_old_one_until_a_good_one_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = write_pair(folder.path(), 2040);
        let certificates = Certificates::load(certificate, key.clone(), None).expect("a pair");
        let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        for bad in [other.as_str(), "no key", ""] {
            std::fs::write(&key, bad).expect("written");
            tokio::time::advance(LOOK_EVERY).await;
            assert_eq!(year(&certificates), "2040", "{bad}");
        }
        write_pair(folder.path(), 2042);
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(year(&certificates), "2042");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_clients_would_refuse_waits_for_its_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = write_pair(folder.path(), 2040);
        let host = folder.path().join("host");
        std::fs::write(&host, "localhost\n").expect("written");
        let certificates =
            Certificates::load(certificate.clone(), key.clone(), Some(host.clone())).expect("a pair");
        write_pair(folder.path(), 2020);
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(year(&certificates), "2040", "it has ended");
        let other = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).expect("a certificate");
        std::fs::write(&certificate, other.cert.pem()).expect("written");
        std::fs::write(&key, other.signing_key.serialize_pem()).expect("written");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(year(&certificates), "2040", "it is for others");
        std::fs::write(&host, "elsewhere").expect("written");
        tokio::time::advance(LOOK_EVERY).await;
        assert_ne!(year(&certificates), "2040", "now it is for whom clients look");
    }

    #[test]
    fn what_cannot_be_served_is_said_with_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = write_pair(folder.path(), 2040);
        let missing = Certificates::load(folder.path().join("none"), key.clone(), None).expect_err("no file");
        assert!(missing.to_string().contains("none"), "{missing}");
        std::fs::write(&certificate, "no certificate").expect("written");
        let empty = Certificates::load(certificate, key, None).expect_err("no certificate");
        assert!(empty.to_string().contains("tls.crt"), "{empty}");
    }
}
