//! The certificates of servers: how one is made, and whether one that exists still serves.

use std::net::IpAddr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::Error;

/// How long a server's certificate lives, in days.
const LIFE_DAYS: i64 = 90;

/// A certificate and its key, both PEM.
pub struct Leaf {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// When a certificate was made and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before this.
    pub made: Timestamp,
    /// Not after this.
    pub ends: Timestamp,
}

impl Validity {
    /// When it should be renewed: after two thirds of its life.
    pub fn renewal(&self) -> Timestamp {
        self.made + self.ends.duration_since(self.made) * 2 / 3
    }
}

/// Why a certificate does not serve (any more).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It cannot be read.
    #[error("it is not a PEM certificate")]
    Unreadable,
    /// It ends soon, or has ended.
    #[error("it ends at {0}")]
    Ends(Timestamp),
    /// A name is missing.
    #[error("it does not name {0}")]
    Name(String),
    /// Its key cannot be read, or is of a kind that no server uses.
    #[error("tls.key is not a private key in PEM that a server can use")]
    Key,
    /// The key is another certificate's.
    #[error("tls.key is the key of another certificate")]
    Mismatch,
    /// Nothing that is trusted signed it.
    #[error("its issuer is not trusted any more")]
    Issuer,
}

/// Makes a certificate for serverAuth and clientAuth: atSign servers are each other's clients.
pub fn issue(issuer: &Issuer<'_, KeyPair>, names: &[String], now: Timestamp) -> Result<Leaf, Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names)?;
    // The first name may be longer than the 64 characters that a common name can have; clients read the others only.
    params.distinguished_name.push(DnType::CommonName, "atsign-secondary");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    live(&mut params, now, LIFE_DAYS);
    Ok(Leaf { certificate: params.signed_by(&key, issuer)?.pem(), key: key.serialize_pem() })
}

/// The first certificate in a PEM text: when it was made, when it ends.
pub fn validity(pem: &str) -> Result<Validity, Error> {
    let unreadable = || Error::Unreadable("no PEM certificate".to_owned());
    read(pem, validity_of).flatten().ok_or_else(unreadable)
}

/// Whether a certificate of our own is to be kept: it names exactly `names`, something in `bundle` signed it, and less
/// than two thirds of its life have passed.
pub fn still_good(pem: &str, names: &[String], bundle: &str, now: Timestamp) -> Result<(), Unfit> {
    read(pem, |certificate| {
        names_all(certificate, names)?;
        if names_of(certificate).len() != names.len() {
            return Err(Unfit::Name("what is wanted, and nothing else".to_owned()));
        }
        let validity = validity_of(certificate).ok_or(Unfit::Unreadable)?;
        if now >= validity.renewal() {
            return Err(Unfit::Ends(validity.ends));
        }
        let signed = Pem::iter_from_buffer(bundle.as_bytes()).filter_map(Result::ok).any(|issuer| {
            let issuer = issuer.parse_x509();
            issuer.is_ok_and(|issuer| certificate.verify_signature(Some(issuer.public_key())).is_ok())
        });
        if signed { Ok(()) } else { Err(Unfit::Issuer) }
    })
    .unwrap_or(Err(Unfit::Unreadable))
}

/// Whether a certificate that a user keeps serves clients who come to `host`, or to a name that is still to come.
pub fn serves(pem: &str, host: Option<&str>, now: Timestamp) -> Result<(), Unfit> {
    read(pem, |certificate| serves_parsed(certificate, host, now)).unwrap_or(Err(Unfit::Unreadable))
}

/// The same for a certificate as a server presents it.
pub fn presented_serves(der: &[u8], host: &str, now: Timestamp) -> Result<(), Unfit> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unfit::Unreadable)?;
    serves_parsed(&certificate, Some(host), now)
}

fn serves_parsed(certificate: &X509Certificate<'_>, host: Option<&str>, now: Timestamp) -> Result<(), Unfit> {
    if let Some(host) = host {
        names_all(certificate, &[host.to_owned()])?;
    }
    let validity = validity_of(certificate).ok_or(Unfit::Unreadable)?;
    if now >= validity.ends { Err(Unfit::Ends(validity.ends)) } else { Ok(()) }
}

/// Whether a server can present a pair that a user keeps: it reads keys of more kinds than are made here.
pub fn can_be_presented(pem: &str, key: &str) -> Result<(), Unfit> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Unfit::Unreadable)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Unfit::Key)?;
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Unfit::Mismatch),
        Err(_) => Err(Unfit::Key),
    }
}

/// Whether `key` is the private key of the certificate.
pub fn belongs_to(pem: &str, key: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key) else { return false };
    read(pem, |certificate| certificate.public_key().subject_public_key.data == key.public_key_raw())
        .unwrap_or(false)
}

/// Lets `params` be valid from yesterday, for clocks that differ, until `days` from today: whole days are what rcgen
/// takes without another crate for time.
pub(crate) fn live(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let day = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(now - SignedDuration::from_hours(24));
    params.not_after = day(now + SignedDuration::from_hours(24 * days));
}

fn read<T>(pem: &str, look: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let pem = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    Some(look(&pem.parse_x509().ok()?))
}

fn validity_of(certificate: &X509Certificate<'_>) -> Option<Validity> {
    let validity = certificate.validity();
    let made = Timestamp::from_second(validity.not_before.timestamp()).ok()?;
    let ends = Timestamp::from_second(validity.not_after.timestamp()).ok()?;
    Some(Validity { made, ends })
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn names_all(certificate: &X509Certificate<'_>, wanted: &[String]) -> Result<(), Unfit> {
    let names = names_of(certificate);
    match wanted.iter().find(|wanted| !names.iter().any(|name| matches(name, wanted))) {
        Some(missing) => Err(Unfit::Name(missing.clone())),
        None => Ok(()),
    }
}

/// Whether a name in a certificate stands for `host`: the same, or a wildcard for its first label.
fn matches(name: &str, host: &str) -> bool {
    name.eq_ignore_ascii_case(host)
        || name
            .strip_prefix("*.")
            .zip(host.split_once('.'))
            .is_some_and(|(rest, (_, domain))| rest.eq_ignore_ascii_case(domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_certificate_is_kept_for_two_thirds_of_its_life() {
        let authority = Authority::generate(now()).expect("an authority");
        let names = names(&["alice.home.svc.cluster.local", "alice"]);
        let leaf = authority.issue(&names, now()).expect("a certificate");
        let good = |days: i64| {
            let then = now() + SignedDuration::from_hours(24 * days);
            still_good(&leaf.certificate, &names, &authority.bundle(), then)
        };
        assert_eq!(good(0), Ok(()));
        assert_eq!(good(58), Ok(()));
        assert!(matches!(good(61), Err(Unfit::Ends(_))));
    }

    #[test]
    fn other_names_another_issuer_or_no_certificate_mean_a_new_one() {
        let authority = Authority::generate(now()).expect("an authority");
        let stranger = Authority::generate(now()).expect("an authority");
        let leaf = authority.issue(&names(&["alice"]), now()).expect("a certificate");
        let check =
            |wanted: &[&str], bundle: &str| still_good(&leaf.certificate, &names(wanted), bundle, now());
        assert_eq!(
            check(&["alice", "alice.example.com"], &authority.bundle()),
            Err(Unfit::Name("alice.example.com".into()))
        );
        assert!(check(&[], &authority.bundle()).is_err());
        assert_eq!(check(&["alice"], &stranger.bundle()), Err(Unfit::Issuer));
        assert_eq!(still_good("hello", &names(&["alice"]), "", now()), Err(Unfit::Unreadable));
    }

    #[test]
    fn a_users_certificate_must_name_the_address_and_be_alive() {
        let authority = Authority::generate(now()).expect("an authority");
        let leaf = authority.issue(&names(&["*.example.com"]), now()).expect("a certificate").certificate;
        assert_eq!(serves(&leaf, Some("alice.example.com"), now()), Ok(()));
        assert_eq!(serves(&leaf, Some("a.b.example.com"), now()), Err(Unfit::Name("a.b.example.com".into())));
        assert!(
            serves(&leaf, Some("alice.example.com"), now() + SignedDuration::from_hours(24 * 91)).is_err()
        );
    }

    #[test]
    fn a_users_key_must_be_one_and_the_certificates_own() {
        let authority = Authority::generate(now()).expect("an authority");
        let [leaf, other] =
            [(); 2].map(|()| authority.issue(&names(&["alice"]), now()).expect("a certificate"));
        assert_eq!(can_be_presented(&leaf.certificate, &leaf.key), Ok(()));
        assert_eq!(can_be_presented(&leaf.certificate, &other.key), Err(Unfit::Mismatch));
        for key in ["", "hello", &leaf.certificate, &leaf.key[..leaf.key.len() / 2]] {
            assert_eq!(can_be_presented(&leaf.certificate, key), Err(Unfit::Key), "{key}");
        }
        assert_eq!(can_be_presented("hello", &leaf.key), Err(Unfit::Unreadable));
    }

    #[test]
    fn a_load_balancers_address_is_a_name_like_others() {
        let authority = Authority::generate(now()).expect("an authority");
        let names = names(&["192.0.2.7", "fd00::1", "alice"]);
        let leaf = authority.issue(&names, now()).expect("a certificate").certificate;
        assert_eq!(still_good(&leaf, &names, &authority.bundle(), now()), Ok(()));
        assert_eq!(serves(&leaf, Some("fd00::1"), now()), Ok(()));
        assert_eq!(serves(&leaf, Some("192.0.2.8"), now()), Err(Unfit::Name("192.0.2.8".into())));
    }
}
