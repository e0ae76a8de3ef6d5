//! A Secret with a certificate of the operator's authority: tls.crt, tls.key, ca.crt.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::authority::{Authority, Error};
use crate::{leaf, names};

/// The certificate that is there, as long as it serves; else a new one. The trusted certificates are always today's.
pub fn build(
    metadata: ObjectMeta,
    authority: &Authority,
    hosts: &[String],
    live: Option<&Secret>,
    now: Timestamp,
) -> Result<Secret, Error> {
    let bundle = authority.bundle();
    let (certificate, key) = if let Some(kept) = live.and_then(|live| kept(live, hosts, &bundle, now)) {
        kept
    } else {
        let leaf = authority.issue(hosts, now)?;
        (ByteString(leaf.certificate.into_bytes()), ByteString(leaf.key.into_bytes()))
    };
    let data = [
        ("tls.crt".to_owned(), certificate),
        ("tls.key".to_owned(), key),
        (names::CA_KEY.to_owned(), ByteString(bundle.into_bytes())),
    ];
    Ok(Secret {
        metadata,
        data: Some(data.into()),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    })
}

fn kept(live: &Secret, hosts: &[String], bundle: &str, now: Timestamp) -> Option<(ByteString, ByteString)> {
    let data = live.data.as_ref()?;
    let certificate = data.get("tls.crt")?;
    let key = data.get("tls.key")?;
    let readable = std::str::from_utf8(&certificate.0).ok()?;
    leaf::still_good(readable, hosts, bundle, now).ok()?;
    leaf::belongs_to(readable, std::str::from_utf8(&key.0).ok()?).then(|| (certificate.clone(), key.clone()))
}
