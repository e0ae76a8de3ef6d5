//! `kubectl atsign activate`: the first login, after which the owner has keys.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use atsign_crds::AtSign;
use atsign_crds::name::CRAM_KEY;
use atsign_keys::{Connection, is_unfinished, onboard};
use clap::Args;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt as _;
use kube::api::Api;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::arguments::Name;
use crate::cluster::Cluster;
use crate::outcome::Outcome;
use crate::output::print;
use crate::{cluster, find, server};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  # @alice's keys into ~/.atsign/keys/@alice_key.atKeys, where SDKs look for them
  kubectl atsign activate alice

  # into another file
  kubectl atsign activate alice --keys alice.atKeys

  # who may not read Secrets gets the activation secret from who made the AtSign
  kubectl atsign activate alice --secret-file secret.txt

The server is reached through the API server (port-forward), so this works from anywhere; its certificate is checked all
the same. The keys exist nowhere else: keep a copy of the file, nobody can make it again.";

/// Which one, and how.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// The keys file to write [default: ~/.atsign/keys/<atSign>_key.atKeys]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// A file with the activation secret, - for standard input; where it is not given, the AtSign's Secret is read
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A file with more certificates to trust, for a server whose certificate is your own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Go to the AtSign's address instead of through the API server
    #[arg(long)]
    direct: bool,
}

/// Logs in for the first time.
pub async fn activate(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let (name, flag) = (at_sign.name_any(), cluster.namespace_flag());
    let identity = find::identity(&at_sign).with_context(|| format!("AtSign {name} stands for no atSign"))?;
    let status = at_sign.status.clone().unwrap_or_default();
    let file = match &arguments.keys {
        Some(file) => file.clone(),
        None => default_file(identity.as_str())?,
    };
    if file.exists() {
        bail!(
            "{} is there already: keys are never overwritten; to write others, name another file with --keys",
            file.display()
        );
    }
    if status.activated == Some(true) && !is_unfinished(&file) {
        bail!("{identity} was activated already; who did has the keys, and nobody else can get any");
    }
    let Some(address) = status.address.filter(|_| find::is_ready(&at_sign)) else {
        eprintln!("{identity} is not ready yet; why: kubectl atsign status {name}{flag}");
        return Ok(Outcome::NotReady);
    };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let secret = secret(&cluster, &at_sign, arguments).await?;
    let roots = roots(&cluster, &at_sign, arguments).await?;
    let (host, port) = host_and_port(&address);
    let way = Way::choose(&cluster, &name, arguments.direct).await?;
    let through = if arguments.direct { "" } else { " through the API server" };
    eprintln!("making keys for {identity}, logging in at {address}{through}");
    let connect = async || Connection::open(way.stream(host, port).await?, host, roots.clone()).await;
    onboard(connect, &identity, secret.trim(), &file).await?;
    print(&format!("{identity} is activated, the keys are in {}\n", file.display()))?;
    eprintln!("Keep a copy of that file in a safe place: nobody can make it again.");
    Ok(Outcome::Done)
}

/// Where SDKs look.
fn default_file(at_sign: &str) -> Result<PathBuf> {
    let home = std::env::home_dir().context("there is no home folder; name the file with --keys")?;
    Ok(home.join(".atsign/keys").join(format!("{at_sign}_key.atKeys")))
}

/// The host and the port of an address in a status; 6464 where no port stands.
fn host_and_port(address: &str) -> (&str, u16) {
    match address.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, port),
        _ => (address, server::PORT),
    }
}

async fn secret(cluster: &Cluster, at_sign: &AtSign, arguments: &Arguments) -> Result<String> {
    if let Some(file) = &arguments.secret_file {
        let mut secret = String::new();
        let read = if file.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut secret).map(drop)
        } else {
            std::fs::read_to_string(file).map(|read| secret = read)
        };
        read.with_context(|| format!("reading the activation secret from {}", file.display()))?;
        return Ok(secret);
    }
    let kept = at_sign.spec.activation.as_ref().and_then(|activation| activation.secret_name.clone());
    let name = kept.unwrap_or_else(|| format!("{}-activation", at_sign.name_any()));
    let secret = cluster.api::<Secret>().get(&name).await.with_context(|| {
        format!("reading Secret {name}; who may can give you its key {CRAM_KEY}, for --secret-file")
    })?;
    let value = secret.data.and_then(|mut data| data.remove(CRAM_KEY));
    let value = value.with_context(|| format!("Secret {name} has no key {CRAM_KEY}"))?;
    String::from_utf8(value.0).with_context(|| format!("the key {CRAM_KEY} of Secret {name} is no text"))
}

/// What the server's certificate may lead to: the operator's authority, as it publishes it itself or, for who sees only
/// the AtSign's namespace, as it gave it to the server. A certificate of the user's own may also lead to a public one.
async fn roots(cluster: &Cluster, at_sign: &AtSign, arguments: &Arguments) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &arguments.ca {
        let pem = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        trust(&mut roots, &pem).with_context(|| format!("reading {}", file.display()))?;
    }
    if at_sign.spec.tls.is_some() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let config = format!("{}-config", at_sign.name_any());
    for (api, name, key) in [
        (cluster.operators(), "atsign-ca", "ca.crt"),
        (cluster.api::<ConfigMap>(), config.as_str(), "peer-ca.crt"),
    ] {
        let Ok(Some(map)) = api.get_opt(name).await else { continue };
        if let Some(pem) = map.data.as_ref().and_then(|data| data.get(key)) {
            trust(&mut roots, pem.as_bytes()).with_context(|| format!("reading ConfigMap {name}"))?;
            break;
        }
    }
    if roots.is_empty() {
        bail!(
            "neither ConfigMap {}/atsign-ca nor {config} can be read, so the server's certificate cannot be checked; name the authority's with --ca",
            cluster.operator_namespace
        );
    }
    Ok(roots)
}

fn trust(roots: &mut RootCertStore, pem: &[u8]) -> Result<()> {
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.context("a certificate cannot be read")?)?;
    }
    Ok(())
}

/// The pod to which the API server and the kubelet forward a port; without one the AtSign's address is gone to.
struct Way(Option<(Api<Pod>, String)>);

/// A stream to a server, whatever carries it.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Way {
    async fn choose(cluster: &Cluster, name: &str, direct: bool) -> Result<Self> {
        if direct {
            return Ok(Self(None));
        }
        let pods: Api<Pod> = cluster.api();
        let found = server::pods(&pods, name).await?;
        let pod = found.iter().find(|pod| server::is_ready(pod));
        let pod = pod.with_context(|| format!("no pod of {name} is ready"))?.name_any();
        Ok(Self(Some((pods, pod))))
    }

    async fn stream(&self, host: &str, port: u16) -> Result<Box<dyn Stream>> {
        let Some((pods, pod)) = &self.0 else {
            let stream = TcpStream::connect((host, port)).await.with_context(|| {
                format!("connecting to {host}:{port}; without --direct the API server leads there")
            })?;
            return Ok(Box::new(stream));
        };
        let mut forwarder = pods.portforward(pod, &[server::PORT]).await.with_context(|| {
            format!("forwarding a port of pod {pod} (pods/portforward); inside the cluster's network there is --direct")
        })?;
        Ok(Box::new(forwarder.take_stream(server::PORT).context("the port is forwarded")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_has_6464() {
        assert_eq!(host_and_port("alice.home.svc.cluster.local"), ("alice.home.svc.cluster.local", 6464));
        assert_eq!(host_and_port("alice.example.com:7000"), ("alice.example.com", 7000));
    }
}
