//! `kubectl create atsign`: makes an AtSign.

use anyhow::Result;
use atsign_crds::{
    Activation, AtSign, AtSignSpec, DeletionPolicy, Expose, ExposeType, GatewayRef, IssuerRef, Memory,
    Storage, Tls, condition::SUSPENDED, quantity,
};
use atsign_protocol::{AtSign as Identity, object_name};
use clap::{Args, ValueEnum};
use kube::ResourceExt as _;
use kube::api::PostParams;

use crate::change::FIELD_MANAGER;
use crate::outcome::Outcome;
use crate::output::print;
use crate::{cluster, find, wait};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  # @alice, of the cluster's default tier; wait until she is served
  kubectl create atsign alice --wait

  # of the tier pro, with a volume of 1Gi of a StorageClass
  kubectl create atsign alice --tier pro --storage 1Gi --storage-class nfs

  # an atSign that is no name of Kubernetes' kind: the AtSign gets a name that is
  kubectl create atsign '@🛠bob'

  # behind a Gateway that many atSigns share
  kubectl create atsign alice --gateway gateways/shared --hostname alice.example.com

  # with a certificate that a ClusterIssuer of cert-manager signs
  kubectl create atsign alice --issuer ClusterIssuer/letsencrypt --expose LoadBalancer --hostname alice.example.com

  # only show the manifest, for a repository
  kubectl create atsign alice --tier pro --dry-run=client -o yaml

  # ask the API server whether it would take it
  kubectl create atsign alice --memory 4Mi --dry-run=server";

/// What to make.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// The atSign, with or without its @
    #[arg(value_name = "ATSIGN", value_parser = at_sign)]
    at_sign: Identity,
    /// The AtSign's name, and that of its server, Service and volume; where it is not given, made of the atSign
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The AtSignTier; where it is not given, the one that is the default
    #[arg(long, value_name = "TIER", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::tiers))]
    tier: Option<String>,
    /// Memory to start with, such as 6Mi
    #[arg(long, value_name = "QUANTITY", value_parser = bytes)]
    memory: Option<String>,
    /// How far memory may grow, such as 24Mi
    #[arg(long, value_name = "QUANTITY", value_parser = bytes)]
    memory_cap: Option<String>,
    /// Size of the volume, such as 1Gi
    #[arg(long, value_name = "QUANTITY", value_parser = bytes, conflicts_with = "existing_claim")]
    storage: Option<String>,
    /// StorageClass of the volume
    #[arg(long, value_name = "CLASS", conflicts_with = "existing_claim")]
    storage_class: Option<String>,
    /// A claim (PVC) to use as it is
    #[arg(long, value_name = "CLAIM")]
    existing_claim: Option<String>,
    /// What becomes of the data when the AtSign is deleted [default: retain]
    #[arg(long, value_name = "POLICY")]
    deletion_policy: Option<Policy>,
    /// How clients outside the cluster reach the server [default: inside the cluster only]
    #[arg(long, value_name = "TYPE", ignore_case = true)]
    expose: Option<Way>,
    /// The Gateway that it shares, with that type
    #[arg(long, value_name = "[NAMESPACE/]NAME", value_parser = gateway)]
    gateway: Option<GatewayRef>,
    /// The name under which clients find the server
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// The port that clients use; with a node port that of the nodes [default: 6464]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// A Secret with the certificate; where it is not given, the operator's authority signs one
    #[arg(long, value_name = "SECRET", conflicts_with = "issuer")]
    tls_secret: Option<String>,
    /// The issuer of cert-manager that signs the certificate; its kind where it is not Issuer, its group where it is not
    /// cert-manager.io
    #[arg(long, value_name = "[KIND[.GROUP]/]NAME", value_parser = issuer)]
    issuer: Option<IssuerRef>,
    /// A Secret with the activation secret; where it is not given, one is generated
    #[arg(long, value_name = "SECRET")]
    activation_secret: Option<String>,
    /// Make it, but start no server until `kubectl atsign resume`
    #[arg(long)]
    suspend: bool,
    /// client: only show what would be sent. server: send it, but store nothing
    #[arg(long, value_name = "WHERE", default_value = "none", default_missing_value = "client", num_args = 0..=1, require_equals = true)]
    dry_run: DryRun,
    /// Show what was made instead of saying it
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    wait: wait::Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DryRun {
    None,
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Name,
    Yaml,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Inside the cluster only
    #[value(name = "ClusterIP")]
    ClusterIp,
    /// A port of every node; needs --hostname
    #[value(name = "NodePort")]
    NodePort,
    /// A load balancer of the cloud
    #[value(name = "LoadBalancer")]
    LoadBalancer,
    /// Behind a Gateway that many share; needs --hostname and --gateway
    #[value(name = "TLSRoute")]
    TlsRoute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// The volume stays; an AtSign of the same name finds it again
    Retain,
    /// The volume and what is on it are removed
    Delete,
}

/// Makes it, or says why not; then nothing was changed.
pub async fn create(cluster: &cluster::Arguments, arguments: Box<Arguments>) -> Result<Outcome> {
    let mut wanted = arguments.manifest();
    if arguments.dry_run == DryRun::Client {
        wanted.metadata.namespace = cluster.namespace().await;
        show(&wanted, &arguments)?;
        return Ok(Outcome::Done);
    }
    let cluster = cluster.connect().await?;
    let params = PostParams {
        dry_run: arguments.dry_run == DryRun::Server,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    let made = cluster.api().create(&params, &wanted).await?;
    show(&made, &arguments)?;
    if !arguments.wait.wait || params.dry_run {
        return Ok(Outcome::Done);
    }
    let what = if arguments.suspend { "suspended" } else { "ready" };
    let timeout = arguments.wait.timeout;
    wait::until(&cluster, &made.name_any(), what, timeout, async |at_sign| {
        Ok(if arguments.suspend { find::is(at_sign, SUSPENDED) } else { find::is_ready(at_sign) })
    })
    .await
}

impl Arguments {
    /// The AtSign that they describe.
    fn manifest(&self) -> AtSign {
        let name = self.name.clone().unwrap_or_else(|| object_name(&self.at_sign));
        let is_said_by_name = self.at_sign.name() == name;
        let memory = Memory { default: self.memory.clone(), cap: self.memory_cap.clone() };
        let storage = Storage {
            size: self.storage.clone(),
            storage_class_name: self.storage_class.clone(),
            existing_claim: self.existing_claim.clone(),
        };
        let expose = Expose {
            // A Gateway is named for a TLSRoute only.
            type_: self.expose.or(self.gateway.is_some().then_some(Way::TlsRoute)).map(|way| match way {
                Way::ClusterIp => ExposeType::ClusterIp,
                Way::NodePort => ExposeType::NodePort,
                Way::LoadBalancer => ExposeType::LoadBalancer,
                Way::TlsRoute => ExposeType::TlsRoute,
            }),
            gateway_ref: self.gateway.clone(),
            hostname: self.hostname.clone(),
            port: self.port.map(i32::from),
            ..Expose::default()
        };
        let spec = AtSignSpec {
            at_sign: (!is_said_by_name).then(|| self.at_sign.to_string()),
            tier: self.tier.clone(),
            memory: unless_empty(memory),
            storage: unless_empty(storage),
            deletion_policy: self.deletion_policy.map(|policy| match policy {
                Policy::Retain => DeletionPolicy::Retain,
                Policy::Delete => DeletionPolicy::Delete,
            }),
            expose: unless_empty(expose),
            tls: unless_empty(Tls { secret_name: self.tls_secret.clone(), issuer_ref: self.issuer.clone() }),
            activation: self.activation_secret.clone().map(|secret| Activation { secret_name: Some(secret) }),
            suspend: self.suspend.then_some(true),
            ..AtSignSpec::default()
        };
        AtSign::new(&name, spec)
    }
}

fn show(made: &AtSign, arguments: &Arguments) -> Result<()> {
    let mut made = made.clone();
    made.metadata.managed_fields = None;
    print(&match arguments.output {
        Some(Format::Yaml) => serde_yaml::to_string(&made)?,
        Some(Format::Json) => serde_json::to_string_pretty(&made)? + "\n",
        Some(Format::Name) => format!("atsign.atsign.dev/{}\n", made.name_any()),
        None => {
            let dry = match arguments.dry_run {
                DryRun::None => "",
                DryRun::Client => " (dry run)",
                DryRun::Server => " (server dry run)",
            };
            format!("atsign.atsign.dev/{} created{dry}\n", made.name_any())
        }
    })
}

fn unless_empty<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn at_sign(given: &str) -> Result<Identity, String> {
    let with_at = if given.starts_with('@') { given.to_owned() } else { format!("@{given}") };
    Identity::parse(&with_at).map_err(|why| why.to_string())
}

fn gateway(given: &str) -> Result<GatewayRef, String> {
    let (namespace, name) = match given.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, given),
    };
    if name.is_empty() || name.contains('/') || namespace.as_deref() == Some("") {
        return Err("expected the name of a Gateway, such as shared, or gateways/shared".to_owned());
    }
    Ok(GatewayRef { name: name.to_owned(), namespace, section_name: None })
}

fn issuer(given: &str) -> Result<IssuerRef, String> {
    let (kind, name) = match given.split_once('/') {
        Some((kind, name)) => (Some(kind), name),
        None => (None, given),
    };
    let (kind, group) = match kind.map(|kind| kind.split_once('.').unwrap_or((kind, ""))) {
        Some((kind, group)) => {
            (Some(kind.to_owned()), Some(group.to_owned()).filter(|group| !group.is_empty()))
        }
        None => (None, None),
    };
    if name.is_empty() || name.contains('/') || kind.as_deref() == Some("") {
        return Err("expected the name of an Issuer, such as ca, or ClusterIssuer/letsencrypt".to_owned());
    }
    Ok(IssuerRef { name: name.to_owned(), kind, group })
}

fn bytes(given: &str) -> Result<String, String> {
    match quantity::bytes(given) {
        Some(1..) => Ok(given.to_owned()),
        _ => Err("expected a whole number with k, Ki, M, Mi, G, Gi, T or Ti, such as 24Mi or 1Gi".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::arguments::CreateAtsign;

    fn spec(flags: &[&str]) -> Result<Value, clap::Error> {
        let line = ["kubectl-create-atsign", "alice"].iter().chain(flags);
        let made = CreateAtsign::try_parse_from(line)?.create.manifest();
        Ok(serde_json::to_value(made.spec).expect("JSON"))
    }

    #[test]
    fn an_issuer_is_named_with_its_kind_and_group_where_they_are_not_the_usual() {
        for (given, issuer) in [
            ("ca", json!({"name": "ca"})),
            ("ClusterIssuer/letsencrypt", json!({"name": "letsencrypt", "kind": "ClusterIssuer"})),
            (
                "AWSPCAIssuer.awspca.cert-manager.io/x",
                json!({"name": "x", "kind": "AWSPCAIssuer", "group": "awspca.cert-manager.io"}),
            ),
        ] {
            assert_eq!(spec(&["--issuer", given]).expect(given), json!({"tls": {"issuerRef": issuer}}));
        }
        for given in ["", "/", "/x", "ClusterIssuer/", "a/b/c"] {
            assert!(spec(&["--issuer", given]).is_err(), "{given}");
        }
        assert!(spec(&["--issuer", "ca", "--tls-secret", "mine"]).is_err(), "one or the other");
        assert_eq!(
            spec(&["--tls-secret", "mine"]).expect("a Secret"),
            json!({"tls": {"secretName": "mine"}})
        );
    }

    #[test]
    fn a_gateway_is_for_a_route() {
        assert_eq!(
            spec(&["--gateway", "gateways/shared", "--hostname", "alice.example.com"]).expect("a Gateway"),
            json!({"expose": {"type": "TLSRoute", "hostname": "alice.example.com",
                "gatewayRef": {"namespace": "gateways", "name": "shared"}}})
        );
        for given in ["", "/shared", "gateways/", "a/b/c"] {
            assert!(spec(&["--gateway", given]).is_err(), "{given}");
        }
    }
}
