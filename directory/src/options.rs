//! What the command line says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser};

/// The atDirectory (root server): tells where each atSign's server is.
#[derive(Parser)]
#[command(name = "atsign-directory", version, group(ArgGroup::new("source").required(true).args(["file", "kubernetes", "redis"])))]
pub struct Options {
    /// Where clients connect, over TLS
    #[arg(long, env = "ATSIGN_LISTEN", default_value = "0.0.0.0:6400")]
    pub listen: SocketAddr,

    /// Where /healthz, /readyz and /metrics are, over plain HTTP
    #[arg(long, env = "ATSIGN_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,

    /// The certificate chain, PEM; read again when it changes
    #[arg(long, env = "ATSIGN_TLS_CERT", value_name = "FILE")]
    pub tls_cert: PathBuf,

    /// The certificate's key, PEM; read again when it changes
    #[arg(long, env = "ATSIGN_TLS_KEY", value_name = "FILE")]
    pub tls_key: PathBuf,

    /// Answer from this file of lines `alice host:port`; read again when it changes
    #[arg(long, env = "ATSIGN_FILE")]
    pub file: Option<PathBuf>,

    /// Answer from the AtSign resources of the cluster, in all namespaces
    #[arg(long, env = "ATSIGN_KUBERNETES")]
    pub kubernetes: bool,

    /// Answer from the records of a Redis, `redis://[user:password@]host[:port][/database]`, or `rediss://` with TLS.
    /// With a password give it as `ATSIGN_REDIS`: arguments can be read by everybody on the machine
    #[arg(long, env = "ATSIGN_REDIS", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,

    /// Certificates, PEM, to trust in a rediss:// instead of the public ones
    #[arg(long, env = "ATSIGN_REDIS_CA", value_name = "FILE", requires = "redis")]
    pub redis_ca: Option<PathBuf>,

    /// Ask this directory, over TLS, for atSigns that are not found, such as root.atsign.org:64
    #[arg(long, env = "ATSIGN_UPSTREAM", value_name = "HOST:PORT")]
    pub upstream: Option<String>,

    /// Certificates, PEM, to trust in the upstream directory beside the public ones
    #[arg(long, env = "ATSIGN_UPSTREAM_CA", value_name = "FILE", requires = "upstream")]
    pub upstream_ca: Option<PathBuf>,

    /// How long a question to the upstream directory may take, in seconds
    #[arg(long, env = "ATSIGN_UPSTREAM_TIMEOUT", default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub upstream_timeout: Duration,

    /// How long to go on answering after SIGTERM, in seconds
    #[arg(long, env = "ATSIGN_DRAIN", default_value = "3", value_name = "SECONDS", value_parser = seconds)]
    pub drain: Duration,

    /// What to log: error, warn, info, debug, or a filter by module
    #[arg(long, env = "ATSIGN_LOG", default_value = "info")]
    pub log: String,

    /// What strangers may take.
    #[command(flatten)]
    pub limits: Limits,
}

/// What strangers may take.
#[derive(Args, Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time; one more closes the one that is idle longest
    #[arg(long, env = "ATSIGN_MAX_CONNECTIONS", default_value = "1024", value_name = "NUMBER",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub max_connections: usize,

    /// Connections at one time from one address, or IPv6 network of 64 bits; one more closes the one of them that is
    /// idle longest. Behind a proxy that hides its clients, all of them are one address
    #[arg(long, env = "ATSIGN_MAX_CONNECTIONS_PER_ADDRESS", default_value = "256", value_name = "NUMBER",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub max_connections_per_address: usize,

    /// How long a connection may be silent, in seconds. Long, because an SDK that keeps one connection for its life
    /// does not notice that it was closed
    #[arg(long, env = "ATSIGN_IDLE_TIMEOUT", default_value = "3600", value_name = "SECONDS", value_parser = seconds)]
    pub idle_timeout: Duration,

    /// How long a TLS handshake may take, and the sending of an answer, in seconds
    #[arg(long, env = "ATSIGN_HANDSHAKE_TIMEOUT", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub handshake_timeout: Duration,

    /// Questions that one connection may ask in a second, on average; more are answered later
    #[arg(long, env = "ATSIGN_MAX_LOOKUPS_PER_SECOND", default_value = "100", value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_lookups_per_second: u32,

    /// Questions that all connections of one address may ask in a second, on average; more are answered later
    #[arg(long, env = "ATSIGN_MAX_LOOKUPS_PER_SECOND_PER_ADDRESS", default_value = "1000", value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_lookups_per_second_per_address: u32,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|e| format!("a number of whole seconds: {e}"))
}
