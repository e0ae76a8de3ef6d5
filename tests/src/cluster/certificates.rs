//! Certificates that change under a running server: what it presents to who comes, and who has been there all the time.

use std::time::Duration;

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::{Namespace, eventually};
use crate::client::Client;

/// How many clients stay.
const LOYAL: usize = 5;

/// An atSign whose clients trust one authority, and owners of it who stay connected.
pub struct Loyal<'a> {
    namespace: &'a Namespace,
    name: &'a str,
    ca: &'a str,
    owners: Vec<Client>,
}

impl<'a> Loyal<'a> {
    /// Logs all of them in.
    pub fn to(namespace: &'a Namespace, name: &'a str, ca: &'a str) -> Result<Self> {
        let owners = (0..LOYAL).map(|_| namespace.log_in_trusting(name, ca)).collect::<Result<_>>()?;
        Ok(Self { namespace, name, ca, owners })
    }

    /// From now on those who come trust another authority.
    pub fn now_trusts(&mut self, ca: &'a str) {
        self.ca = ca;
    }

    /// Each asks something, by the connection that it has had since it came.
    pub fn ask(&mut self) -> Result<()> {
        for owner in &mut self.owners {
            let answer = owner.request("noop:0")?;
            ensure!(answer == format!("data:ok\n@{}@", self.name), "{answer}");
        }
        Ok(())
    }

    /// What a client that comes now is presented, and takes.
    pub fn presented(&self) -> Result<CertificateDer<'static>> {
        Client::connect(&self.namespace.host(self.name), 6464, self.ca)?.certificate()
    }

    /// Waits until that is what a Secret holds, while those who are there ask all the time.
    pub fn until_presented(&mut self, secret: &str) -> Result<()> {
        let mut dropped = Ok(());
        eventually(
            &format!("the certificate of Secret {secret} is presented"),
            Duration::from_mins(2),
            || {
                dropped = self.ask();
                if dropped.is_err() {
                    return Ok(());
                }
                let kept = self.namespace.secret(secret, "tls.crt")?;
                ensure!(
                    self.presented()? == CertificateDer::from_pem_slice(kept.as_bytes())?,
                    "it is another"
                );
                Ok(())
            },
        )?;
        dropped
    }
}

/// An authority that a test keeps to itself.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Its private key, PEM.
    pub key: String,
}

/// A certificate and its key, both PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// One that was made at the beginning of 2026.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2066, 1, 1);
        let key = KeyPair::generate()?;
        let text = key.serialize_pem();
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, key)?, key: text })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate for a host that ends with a year.
    pub fn sign(&self, host: &str, year: i32) -> Result<Pair> {
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

impl Pair {
    /// Writes it into a Secret, as `kubectl create secret tls` does: a new one, or over what is there.
    pub fn keep(&self, namespace: &Namespace, secret: &str) -> Result<()> {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret},
            "type": "kubernetes.io/tls", "stringData": {"tls.crt": self.certificate, "tls.key": self.key}});
        namespace.apply(&object.to_string()).map(drop)
    }
}
