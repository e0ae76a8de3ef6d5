//! Where the CRAM secret and the certificate come from, and whether those that a user keeps are usable.

use atsign_crds::{AtSign, IssuerRef};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{Error, Source};
use crate::dereference::Observed;
use crate::dereference::extension::{Extension, ready_of};
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
    if let Some(issuer) = at_sign.spec.tls.as_ref().and_then(|tls| tls.issuer_ref.as_ref()) {
        return issued(at_sign, issuer, observed, now);
    }
    let kept = at_sign.spec.tls.as_ref().and_then(|tls| tls.secret_name.clone());
    let Some(name) = kept else { return Ok(Source::Generated(names::tls(&at_sign.name_any()))) };
    let secret = observed.tls.as_ref().ok_or_else(|| Error::CertificateNotFound(name.clone()))?;
    let certificate = text(secret, "tls.crt").unwrap_or_default();
    let key = text(secret, "tls.key").unwrap_or_default();
    match leaf::serves(&certificate, host, now).and_then(|()| leaf::can_be_presented(&certificate, &key)) {
        Ok(()) => Ok(Source::Kept(name)),
        Err(why) => Err(Error::CertificateInvalid {
            secret: name,
            why,
            address: host.unwrap_or("its address").to_owned(),
        }),
    }
}

/// The certificate of a cert-manager issuer, once it is there. Whether it is for the right name is seen later: until a
/// new one comes, the server presents the one that it has.
fn issued(
    at_sign: &AtSign,
    issuer: &IssuerRef,
    observed: &Observed,
    now: Timestamp,
) -> Result<Source, Error> {
    match observed.certificate_api {
        Extension::Served(_) => {}
        Extension::Off => return Err(Error::CertManagerOff),
        Extension::Missing => return Err(Error::CertManagerMissing),
    }
    let name = names::issued(&at_sign.name_any());
    let certificate = observed.tls.as_ref().and_then(|secret| text(secret, "tls.crt")).unwrap_or_default();
    if leaf::serves(&certificate, None, now).is_ok() {
        return Ok(Source::Issued(name));
    }
    // The request tells of the issuer, the Certificate of what comes before there is one.
    let objects = [&observed.certificate_request, &observed.certificate];
    let said = objects.into_iter().flatten().find_map(|object| ready_of(object)?["message"].as_str());
    Err(Error::CertificatePending {
        certificate: name,
        issuer: names::issuer(issuer),
        namespace: at_sign.namespace().unwrap_or_default(),
        said: said.unwrap_or("it has said nothing yet").to_owned(),
    })
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}
