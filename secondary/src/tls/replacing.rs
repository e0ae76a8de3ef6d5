//! Whether a certificate may take the place of the one that is presented. What clients would refuse, while they take the
//! one before, is somebody's mistake: the old one stays until a better one comes, or until it is of no more use itself.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

/// A certificate as clients judge it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// The first of its chain.
    pub(super) leaf: &'a CertificateDer<'a>,
    /// When it ends, Unix seconds.
    pub(super) not_after: i64,
}

/// Why a new certificate is worse than the old one at `now`, Unix seconds, for clients that come to `host`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Worse {
    /// It has ended.
    #[error("the new certificate has ended")]
    Ended,
    /// It is for others.
    #[error("the new certificate does not name {0}")]
    Name(String),
}

/// Nothing stands in the way, or this does.
pub(super) fn may_replace(
    old: Candidate<'_>,
    new: Candidate<'_>,
    host: Option<&str>,
    now: i64,
) -> Result<(), Worse> {
    if new.not_after <= now && old.not_after > now {
        return Err(Worse::Ended);
    }
    match host {
        Some(host) if old.not_after > now && !names(new.leaf, host) && names(old.leaf, host) => {
            Err(Worse::Name(host.to_owned()))
        }
        _ => Ok(()),
    }
}

fn names(leaf: &CertificateDer<'_>, host: &str) -> bool {
    let (Ok(certificate), Ok(host)) = (ParsedCertificate::try_from(leaf), ServerName::try_from(host)) else {
        return false;
    };
    verify_server_name(&certificate, &host).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn of(name: &str) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        made.cert.der().clone()
    }

    fn judged(
        (old, old_ends): (&str, i64),
        (new, new_ends): (&str, i64),
        host: Option<&str>,
    ) -> Result<(), Worse> {
        let (old, new) = (of(old), of(new));
        let old = Candidate { leaf: &old, not_after: NOW + old_ends };
        may_replace(old, Candidate { leaf: &new, not_after: NOW + new_ends }, host, NOW)
    }

    #[test]
    fn one_that_has_ended_replaces_only_one_that_has_too() {
        assert_eq!(judged(("alice", 10), ("alice", 0), None), Err(Worse::Ended));
        assert_eq!(judged(("alice", 0), ("alice", -5), None), Ok(()));
        assert_eq!(judged(("alice", 10), ("alice", 5), None), Ok(()));
    }

    #[test]
    fn one_for_others_replaces_none_that_is_for_the_host() {
        let host = Some("alice.example.com");
        assert_eq!(
            judged(("*.example.com", 10), ("bob.example.com", 10), host),
            Err(Worse::Name("alice.example.com".to_owned()))
        );
        assert_eq!(judged(("alice.example.com", 10), ("*.example.com", 10), host), Ok(()));
        assert_eq!(judged(("carol", 10), ("bob", 10), host), Ok(()), "neither is of use");
        assert_eq!(judged(("alice.example.com", 0), ("bob", 10), host), Ok(()), "the old one has ended");
        assert_eq!(judged(("alice.example.com", 10), ("bob", 10), None), Ok(()), "no host is known");
        assert!(judged(("192.0.2.7", 10), ("192.0.2.8", 10), Some("192.0.2.7")).is_err());
    }
}
