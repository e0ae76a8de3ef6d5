//! The operator's own certificate authority, as values: what is stored, when it is renewed, what is trusted meanwhile.
//!
//! An authority lives ten years. At two thirds of that a successor is made and published beside it; a week later, when
//! every server and client had time to hear of it, the successor signs. The old one stays trusted until it ends.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use x509_parser::pem::Pem;

use crate::leaf::{self, Leaf};

/// How long an authority lives, in days.
const LIFE_DAYS: i64 = 3650;
/// How long a successor is published before it signs, in hours.
const PUBLISH_HOURS: i64 = 7 * 24;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// rcgen refused: a key or a certificate could not be made, or the stored ones not be read.
    #[error("the authority's key or certificate cannot be used: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A stored certificate is none.
    #[error("the stored text is not a certificate: {0}")]
    Unreadable(String),
}

/// A certificate and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The authority as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What signs.
    pub active: Pair,
    /// What will sign, once it was published long enough.
    pub next: Option<Pair>,
    /// Certificates that signed and have not ended, PEM, one after the other.
    pub previous: String,
}

impl Authority {
    /// A new one.
    pub fn generate(now: Timestamp) -> Result<Self, Error> {
        Ok(Self { active: pair(now)?, next: None, previous: String::new() })
    }

    /// The authority as it should be at `now`: the same, or one step on in its renewal.
    pub fn advance(&self, now: Timestamp) -> Result<Self, Error> {
        let mut new = self.clone();
        let active = leaf::validity(&self.active.certificate)?;
        match &self.next {
            Some(next)
                if now
                    >= leaf::validity(&next.certificate)?.made
                        + SignedDuration::from_hours(PUBLISH_HOURS) =>
            {
                new.previous.push_str(&self.active.certificate);
                new.active = next.clone();
                new.next = None;
            }
            None if now >= active.renewal() => new.next = Some(pair(now)?),
            _ => {}
        }
        let mut previous = String::new();
        for certificate in certificates(&new.previous)? {
            if leaf::validity(&certificate)?.ends > now {
                previous.push_str(&certificate);
            }
        }
        new.previous = previous;
        Ok(new)
    }

    /// Every certificate that is to be trusted now, PEM, one after the other.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| next.certificate.as_str());
        format!("{}{next}{}", self.active.certificate, self.previous)
    }

    /// Signs a certificate for a server with these names.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<Leaf, Error> {
        let key = KeyPair::from_pem(&self.active.key)?;
        leaf::issue(&Issuer::from_ca_cert_pem(&self.active.certificate, key)?, names, now)
    }
}

/// The certificates in a PEM text, one by one.
fn certificates(bundle: &str) -> Result<Vec<String>, Error> {
    const END: &str = "-----END CERTIFICATE-----";
    let parts = bundle.split_inclusive(END).map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let part = format!("{part}\n");
            match Pem::iter_from_buffer(part.as_bytes()).next() {
                Some(Ok(_)) => Ok(part),
                _ => Err(Error::Unreadable("a trusted certificate is damaged".to_owned())),
            }
        })
        .collect()
}

fn pair(now: Timestamp) -> Result<Pair, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    // Two authorities that trust stores hold at the same time need names of their own.
    params.distinguished_name.push(DnType::CommonName, format!("atsign-operator {now:.0}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    leaf::live(&mut params, now, LIFE_DAYS);
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn years(years: i64) -> SignedDuration {
        SignedDuration::from_hours(years * 365 * 24)
    }

    fn start() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_young_authority_stays_as_it_is() {
        let authority = Authority::generate(start()).expect("an authority");
        assert_eq!(authority.advance(start() + years(6)).expect("advance"), authority);
    }

    #[test]
    fn an_old_one_publishes_its_successor_before_that_signs() {
        let old = Authority::generate(start()).expect("an authority");
        let late = start() + years(7);
        let published = old.advance(late).expect("advance");
        assert_eq!(published.active, old.active);
        let next = published.next.clone().expect("a successor");
        assert!(published.bundle().contains(&old.active.certificate));
        assert!(published.bundle().contains(&next.certificate));

        let waiting = published.advance(late + SignedDuration::from_hours(24)).expect("advance");
        assert_eq!(waiting, published);

        let renewed = published.advance(late + SignedDuration::from_hours(9 * 24)).expect("advance");
        assert_eq!(renewed.active, next);
        assert!(renewed.bundle().contains(&old.active.certificate), "what it signed must stay trusted");

        let forgotten = renewed.advance(start() + years(11)).expect("advance");
        assert!(!forgotten.bundle().contains(&old.active.certificate));
    }

    #[test]
    fn a_certificate_of_the_old_authority_is_good_until_its_own_renewal() {
        let old = Authority::generate(start()).expect("an authority");
        let names = ["alice".to_owned()];
        let late = start() + years(7);
        let leaf = old.issue(&names, late).expect("a certificate");
        let renewed = old
            .advance(late)
            .and_then(|next| next.advance(late + SignedDuration::from_hours(9 * 24)))
            .expect("advance");
        let soon = late + SignedDuration::from_hours(9 * 24);
        assert_eq!(leaf::still_good(&leaf.certificate, &names, &renewed.bundle(), soon), Ok(()));
    }

    #[test]
    fn a_debug_print_shows_no_key() {
        let authority = Authority::generate(start()).expect("an authority");
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
