//! The cluster's certificate authority, and a key and kubeconfig for each of its parts.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use super::network::{API_SERVICE_IP, NODE_IP};
use super::node::NODE;
use super::state::Cluster;

/// Who gets a certificate: file name, common name, organisation (a group, to the API server).
const SUBJECTS: [(&str, &str, Option<&str>); 7] = [
    ("apiserver", "kube-apiserver", None),
    ("apiserver-kubelet", "apiserver-kubelet", Some("system:masters")),
    ("admin", "admin", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("proxy", "system:kube-proxy", None),
    ("kubelet", "system:node:node1", Some("system:nodes")),
];

/// The name by which the API server makes itself known to those whom it hands requests on to.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// Makes keys and certificates unless they are there.
///
/// # Errors
/// They cannot be written.
pub(crate) fn ensure(cluster: &Cluster) -> Result<()> {
    whole(&cluster.pki(), write_all)?;
    // A cluster of an earlier version has the others already.
    whole(&cluster.front_proxy(), write_front_proxy)
}

/// A folder with all that `write` puts there, or none.
fn whole(folder: &Path, write: fn(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    write(&partial)?;
    fs::rename(&partial, folder).with_context(|| format!("writing {}", folder.display()))
}

/// The certificates take rcgen's default lifetime, which never ends: the cluster's own life is short.
fn write_all(folder: &Path) -> Result<()> {
    let (ca, issuer) = authority(folder, "atsign cluster CA")?;

    for (file, name, group) in SUBJECTS {
        let key = KeyPair::generate()?;
        let certificate = subject(name, group)?.signed_by(&key, &issuer)?.pem();
        fs::write(folder.join(format!("{file}.crt")), &certificate)?;
        write_key(&folder.join(format!("{file}.key")), &key)?;
        let kubeconfig = kubeconfig(&ca, &certificate, &key.serialize_pem());
        write_private(&folder.join(format!("{file}.conf")), &kubeconfig)?;
    }

    let accounts = KeyPair::generate()?;
    write_key(&folder.join("service-accounts.key"), &accounts)?;
    fs::write(folder.join("service-accounts.pub"), accounts.public_key_pem())?;
    Ok(())
}

/// An authority of its own, so that nobody whom the cluster's signed can speak in a user's name.
fn write_front_proxy(folder: &Path) -> Result<()> {
    let (_, issuer) = authority(folder, "atsign cluster front proxy CA")?;
    let key = KeyPair::generate()?;
    let certificate = subject(FRONT_PROXY, None)?.signed_by(&key, &issuer)?.pem();
    fs::write(folder.join("client.crt"), certificate)?;
    write_key(&folder.join("client.key"), &key)
}

/// Writes an authority's certificate and key, and returns it with the certificate, PEM.
fn authority(folder: &Path, name: &str) -> Result<(String, Issuer<'static, KeyPair>)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let ca = authority.self_signed(&key)?.pem();
    fs::write(folder.join("ca.crt"), &ca)?;
    write_key(&folder.join("ca.key"), &key)?;
    Ok((ca, Issuer::new(authority, key)))
}

/// Everybody may serve under the node's names: API server and kubelet do, for the others it is without meaning.
fn subject(name: &str, group: Option<&str>) -> Result<CertificateParams> {
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", NODE];
    let mut subject = CertificateParams::new(names.map(str::to_owned))?;
    for address in ["127.0.0.1", API_SERVICE_IP, NODE_IP] {
        subject.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address.parse::<Ipv4Addr>()?)));
    }
    subject.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        subject.distinguished_name.push(DnType::OrganizationName, group);
    }
    subject.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    subject.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(subject)
}

/// JSON is YAML too.
fn kubeconfig(ca: &str, certificate: &str, key: &str) -> String {
    format!(
        "{:#}\n",
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "atsign", "cluster": {
                "server": format!("https://{NODE_IP}:6443"),
                "certificate-authority-data": BASE64.encode(ca),
            }}],
            "users": [{"name": "user", "user": {
                "client-certificate-data": BASE64.encode(certificate),
                "client-key-data": BASE64.encode(key),
            }}],
            "contexts": [{"name": "atsign", "context": {"cluster": "atsign", "user": "user"}}],
            "current-context": "atsign",
        })
    )
}

fn write_key(path: &Path, key: &KeyPair) -> Result<()> {
    write_private(path, &key.serialize_pem())
}

fn write_private(path: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(content.as_bytes())?)
}
