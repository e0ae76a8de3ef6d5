//! Where the CRAM secret and the certificate come from, and whether those that a user keeps are usable.

use atsign_crds::AtSign;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{Error, Source};
use crate::dereference::Observed;
use crate::{leaf, names};

/// The CRAM secret.
pub(super) fn activation(at_sign: &AtSign, observed: &Observed) -> Result<Source, Error> {
    let kept = at_sign.spec.activation.as_ref().and_then(|activation| activation.secret_name.clone());
    let Some(name) = kept else { return Ok(Source::Generated(names::activation(&at_sign.name_any()))) };
    let secret = observed.activation.as_ref().ok_or_else(|| Error::ActivationSecretNotFound(name.clone()))?;
    let cram = text(secret, atsign_crds::name::CRAM_KEY).unwrap_or_default();
    let cram = cram.trim_end_matches('\n');
    if cram.len() != 128 || !cram.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::ActivationSecretInvalid(name));
    }
    Ok(Source::Kept(name))
}

/// The certificate.
pub(super) fn tls(
    at_sign: &AtSign,
    observed: &Observed,
    host: Option<&str>,
    now: Timestamp,
) -> Result<Source, Error> {
    let kept = at_sign.spec.tls.as_ref().and_then(|tls| tls.secret_name.clone());
    let Some(name) = kept else { return Ok(Source::Generated(names::tls(&at_sign.name_any()))) };
    let secret = observed.tls.as_ref().ok_or_else(|| Error::CertificateNotFound(name.clone()))?;
    let certificate = text(secret, "tls.crt").unwrap_or_default();
    match leaf::serves(&certificate, host, now) {
        Ok(()) => Ok(Source::Kept(name)),
        Err(why) => Err(Error::CertificateInvalid {
            secret: name,
            why,
            address: host.unwrap_or("its address").to_owned(),
        }),
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}
