//! Where the CRAM secret and the certificate come from, and whether those that a user keeps are usable.

use atsign_crds::AtSign;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{Error, Source};
use crate::dereference::Observed;
use crate::dereference::extension::Extension;
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
    if at_sign.spec.tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some()) {
        return issued(at_sign, observed, now);
    }
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

/// The certificate of a cert-manager issuer, once it is there. Whether it is for the right name is seen later: until a
/// new one comes, the server presents the one that it has.
fn issued(at_sign: &AtSign, observed: &Observed, now: Timestamp) -> Result<Source, Error> {
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
    let said = observed.certificate.as_ref().and_then(|certificate| {
        let conditions = certificate.data["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        ready["message"].as_str().map(str::to_owned)
    });
    let said = said.unwrap_or_else(|| "it has said nothing yet".to_owned());
    Err(Error::CertificatePending {
        certificate: name,
        namespace: at_sign.namespace().unwrap_or_default(),
        said,
    })
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}
