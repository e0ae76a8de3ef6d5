//! Certificates that change under a running server: what it presents to who comes, and who has been there all the time.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

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
