//! A certificate authority of this machine, and the one certificate that all local servers present.

use std::fs;
use std::path::Path;

use anyhow::Result;
use atsign_keys::write_private;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::demo;

/// Makes `ca.crt`, `tls.crt` and `tls.key` in `folder`, unless they are there. The authority's own key is forgotten:
/// nothing else is to be signed by what a person trusts here.
///
/// # Errors
/// They cannot be written.
pub(super) fn ensure(folder: &Path) -> Result<()> {
    let certificate = folder.join("tls.crt");
    if certificate.exists() {
        return Ok(());
    }
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "cargo xtask local");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    fs::write(folder.join("ca.crt"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);

    let names = ["localhost", "127.0.0.1", "::1", demo::HOST];
    let mut server = CertificateParams::new(names.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Servers present it to each other too.
    server.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    write_private(&folder.join("tls.key"), &key.serialize_pem())?;
    // Last: where it is, all are.
    Ok(fs::write(certificate, server.signed_by(&key, &issuer)?.pem())?)
}
