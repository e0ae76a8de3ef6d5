//! The operator's flags. Each may be given as an environment variable too; the chart sets flags.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

use crate::memory::policy::Policy;

/// Runs atSign servers on Kubernetes: turns AtSign resources into running secondary servers.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// The namespace that the operator runs in: its lease, its authority, the directory and storage Jobs are there
    #[arg(long, env = "POD_NAMESPACE", default_value = "atsign-system")]
    pub namespace: String,

    /// The name of this pod: who holds the lease
    #[arg(long, env = "POD_NAME", default_value = "atsign-operator")]
    pub identity: String,

    /// The image of the secondary server
    #[arg(long, env = "ATSIGN_SECONDARY_IMAGE", default_value = "docker.io/library/atsign-secondary:dev")]
    pub secondary_image: String,

    /// The DNS domain of the cluster's Services
    #[arg(long, env = "ATSIGN_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// The directory that servers ask for other atSigns, host:port; the directory of this release where it is not given
    #[arg(long, env = "ATSIGN_DIRECTORY_ADDRESS")]
    pub directory_address: Option<String>,

    /// Names by which clients outside the cluster reach the directory of this release, for its certificate; separated by commas or
    /// repeated
    #[arg(long = "directory-hostname", env = "ATSIGN_DIRECTORY_HOSTNAME", value_delimiter = ',', value_parser = hostname)]
    pub directory_hostnames: Vec<String>,

    /// AtSigns reconciled at the same time
    #[arg(long, env = "ATSIGN_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,

    /// Seconds after which an AtSign is looked at again though nothing was heard of it
    #[arg(long, env = "ATSIGN_RESYNC", default_value = "600", value_parser = seconds)]
    pub resync: Duration,

    /// Serve AtSigns behind Gateways: take the rights to read those and to write their routes for granted
    #[arg(long, env = "ATSIGN_GATEWAY_API")]
    pub gateway_api: bool,

    /// Have certificates made by cert-manager where spec.tls.issuerRef says so: take the rights to write those for granted
    #[arg(long, env = "ATSIGN_CERT_MANAGER")]
    pub cert_manager: bool,

    /// Take an AtSign for ready when its pod is, without connecting to it through its Service: for an operator that runs
    /// where it cannot reach the addresses of Services
    #[arg(long, env = "ATSIGN_TRUST_READINESS")]
    pub trust_readiness: bool,

    /// When memory grows and shrinks
    #[command(flatten)]
    pub memory: Policy,

    /// Where metrics and health are served
    #[arg(long, env = "ATSIGN_METRICS_LISTEN", default_value = "0.0.0.0:8080")]
    pub metrics_listen: SocketAddr,

    /// Where the figures for bills are served, to whom the API server lets get the path /metering
    #[arg(long, env = "ATSIGN_METERING_LISTEN", default_value = "0.0.0.0:8081")]
    pub metering_listen: SocketAddr,

    /// Namespaces to serve, separated by commas or repeated; all where it is not given
    #[arg(long = "watch-namespace", env = "ATSIGN_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
}

impl Options {
    /// `host:port` of the directory.
    pub fn directory(&self) -> String {
        self.directory_address
            .clone()
            .unwrap_or_else(|| format!("atsign-directory.{}.svc:64", self.namespace))
    }
}

fn hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("a DNS name in lower case, such as directory.example.com".to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("seconds, from 1 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_the_release_is_the_default() {
        let options = Options::parse_from(["atsign-operator", "--namespace", "here"]);
        assert_eq!(options.directory(), "atsign-directory.here.svc:64");
    }

    #[test]
    fn namespaces_are_separated_by_commas_or_repeated() {
        let options = Options::parse_from(["x", "--watch-namespace", "a,b", "--watch-namespace", "c"]);
        assert_eq!(options.watch_namespaces, ["a", "b", "c"]);
    }

    #[test]
    fn the_directory_may_have_names_outside_the_cluster() {
        let names = |value: &str| {
            Options::try_parse_from(["x", "--directory-hostname", value])
                .map(|options| options.directory_hostnames)
        };
        assert_eq!(
            names("directory.example.com,here").expect("two names"),
            ["directory.example.com", "here"]
        );
        for wrong in ["", "a..b", "-a.example.com", "Directory.example.com", "directory.example.com:64"] {
            assert!(names(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_reconciles_at_all_is_refused() {
        assert!(Options::try_parse_from(["x", "--concurrency", "0"]).is_err());
        assert!(Options::try_parse_from(["x", "--resync", "0"]).is_err());
    }
}
