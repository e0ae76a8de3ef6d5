//! What the server is told when it starts: flags, then `ATSIGN_…` variables, then the reference server's variables,
//! then defaults.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use atsign_protocol::AtSign;
use clap::{Args, Parser};

mod behaviour;
mod command;
pub mod reference;

pub use behaviour::BehaviourFlags;
pub use command::{BackupArguments, Command, Place, RestoreArguments, StorageCommand};

use crate::behaviour::Behaviour;
use crate::tuning::Tuning;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "atsign-secondary", version, about = "One atSign's secondary server (atServer)")]
#[command(args_conflicts_with_subcommands = true, after_help = crate::process::EXIT_CODES)]
pub struct CommandLine {
    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub flags: Flags,
}

/// The flags, as given. Each may come from `ATSIGN_` and its name in capitals instead, such as `ATSIGN_STORAGE_DIR`.
#[derive(Debug, Default, Args)]
pub struct Flags {
    /// Whose server this is, such as @alice
    #[arg(short = 'a', long, alias = "at_sign", value_name = "ATSIGN")]
    pub at_sign: Option<String>,
    /// Port to serve on, all addresses; the port of --listen
    #[arg(short = 'p', long, alias = "server_port")]
    pub port: Option<String>,
    /// Address to serve on [default: 0.0.0.0:6464]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The activation (CRAM) secret. Visible in the process list: --shared-secret-file is better
    #[arg(short = 's', long, alias = "shared_secret", value_name = "SECRET")]
    pub shared_secret: Option<String>,
    /// File that holds the activation secret
    #[arg(long, value_name = "FILE")]
    pub shared_secret_file: Option<String>,
    /// Address of the admin port: health, metrics, usage, without TLS [default: 0.0.0.0:9464]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Directory of the data [default: /atsign/storage] [env of the reference server: secondaryStoragePath]
    #[arg(long, value_name = "DIR")]
    pub storage_dir: Option<String>,
    /// Certificate chain, PEM, read again when it changes [default: certs/fullchain.pem, here or in /atsign] [env of the
    /// reference server: securityCertificateChainLocation]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Its key, PEM [default: certs/privkey.pem, here or in /atsign] [env of the reference server: securityPrivateKeyLocation]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Certificates, PEM, to trust in other servers beside the public ones [env of the reference server:
    /// securityTrustedCertificateLocation]
    #[arg(long, value_name = "FILE")]
    pub peer_ca: Option<String>,
    /// The atDirectory [default: root.atsign.org:64] [env of the reference server: rootServerUrl, rootServerPort]
    #[arg(long, value_name = "HOST:PORT")]
    pub directory: Option<String>,
    /// Whether other servers must show the certificate of the host that the directory gives for their atSign, true or
    /// false; with false this server shows none either [default: true] [env of the reference server:
    /// clientCertificateRequired]
    #[arg(long, value_name = "BOOL")]
    pub client_certificate_required: Option<String>,
    /// Directory with limits.json and host, read again when they change
    #[arg(long, value_name = "DIR")]
    pub limits_dir: Option<String>,
    /// Memory that the server may use, such as 6Mi [default: the limit of its control group]
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<String>,
    /// Directory for log files, beside the log on standard output
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<String>,
    /// A log file is begun anew at this size; the one before it is kept [default: 1Mi]
    #[arg(long, value_name = "BYTES")]
    pub log_file_size: Option<String>,
    /// error, warn, info, debug or trace [default: info] [env of the reference server: logLevel]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Who holds the store: the pod's UID [default: the machine's boot id]
    #[arg(long, value_name = "ID")]
    pub holder_id: Option<String>,
    /// File with the token for what changes something on the admin port
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<String>,
    /// Connections at a time [default: 200] [env of the reference server: `inbound_max_limit`]
    #[arg(long, value_name = "NUMBER")]
    pub max_connections: Option<String>,
    /// Seconds that a client may be silent before it has proved who it is, while there are few connections [default:
    /// 600] [env of the reference server: `inbound_idletime_millis`]
    #[arg(long, value_name = "SECONDS")]
    pub idle_timeout: Option<String>,
    /// Seconds that it may be silent after that [default: 2592000] [env of the reference server:
    /// `authenticated_inbound_idletime_millis`]
    #[arg(long, value_name = "SECONDS")]
    pub authenticated_idle_timeout: Option<String>,
    /// The most that the store's page cache may take [default: a quarter of what the memory limit leaves]
    #[arg(long, value_name = "BYTES")]
    pub store_cache: Option<String>,
    /// Let clients change settings with config:set [env of the reference server: testingMode]
    #[arg(long)]
    pub testing_mode: bool,
    /// Notifications, enrollments and copies.
    #[command(flatten)]
    pub behaviour: BehaviourFlags,
    /// Seconds, fractions too, that the store stays ours without a renewal. Another server takes over after a tenth
    /// more, so all servers of one atSign must agree; shorter ones are for tests [default: 30]
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub lease_term: Option<String>,
}

/// What the server is told, resolved and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose server this is.
    pub at_sign: AtSign,
    /// Where it serves.
    pub listen: SocketAddr,
    /// Where the activation secret is, if anywhere.
    pub secret: Option<SecretSource>,
    /// Where the admin port is.
    pub admin_listen: SocketAddr,
    /// Directory of the data.
    pub storage_dir: PathBuf,
    /// Whether that is to be made where it is missing: the reference server makes its own.
    pub make_storage_dir: bool,
    /// Certificate chain.
    pub tls_cert: PathBuf,
    /// Its key.
    pub tls_key: PathBuf,
    /// Certificates to trust in other servers.
    pub peer_ca: Option<PathBuf>,
    /// The atDirectory, `host:port`.
    pub directory: String,
    /// Whether other servers must show their certificate.
    pub client_certificate_required: bool,
    /// Directory with `limits.json`.
    pub limits_dir: Option<PathBuf>,
    /// Memory that the server may use, bytes.
    pub memory_limit: Option<u64>,
    /// Directory for log files.
    pub log_dir: Option<PathBuf>,
    /// Size of a log file, bytes.
    pub log_file_size: u64,
    /// How much is logged.
    pub log_level: tracing::Level,
    /// Who holds the store, where that was given.
    pub holder: Option<String>,
    /// File with the token of the admin port.
    pub admin_token_file: Option<PathBuf>,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long a client may be silent before it has proved who it is.
    pub idle_timeout: Duration,
    /// How long it may be silent after that.
    pub authenticated_idle_timeout: Duration,
    /// The most that the store's page cache may take, bytes.
    pub store_cache: Option<u64>,
    /// Whether clients may change settings.
    pub testing_mode: bool,
    /// How much some verbs answer.
    pub tuning: Tuning,
    /// Notifications, enrollments and copies.
    pub behaviour: Behaviour,
    /// How long the store stays ours without a renewal.
    pub lease_term: Duration,
}

/// Where the activation secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// On the command line or in the environment.
    Given(String),
    /// In a file.
    File(PathBuf),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => formatter.write_str("Given(…)"),
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
        }
    }
}

/// A flag or variable that makes no sense, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct UsageError {
    /// The flag, as a person writes it.
    pub name: &'static str,
    /// What is wrong.
    pub reason: String,
}

fn wrong(name: &'static str, reason: impl Into<String>) -> UsageError {
    UsageError { name, reason: reason.into() }
}

impl Flags {
    /// Resolves every option. `env` looks a variable up; empty ones count as not set.
    pub fn resolve(self, env: impl Fn(&str) -> Option<String>) -> Result<Options, UsageError> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        // A flag wins over our variable, that over the reference server's.
        let pick = |flag: Option<String>, ours: &str, theirs: Option<&str>| {
            flag.or_else(|| env(ours)).or_else(|| theirs.and_then(&env))
        };
        for name in ["useTLS", "useSSL"] {
            if env(name).is_some_and(|value| value.eq_ignore_ascii_case("false")) {
                return Err(wrong(name, "this server speaks TLS only"));
            }
        }

        let at_sign = pick(self.at_sign, "ATSIGN_AT_SIGN", None)
            .ok_or_else(|| wrong("--at-sign", "whose server is this? Give -a @alice"))?;
        let at_sign = AtSign::parse(&at_sign).map_err(|error| wrong("--at-sign", error.to_string()))?;

        let port = pick(self.port, "ATSIGN_PORT", None);
        let listen = pick(self.listen, "ATSIGN_LISTEN", None);
        let secret_file = pick(self.shared_secret_file, "ATSIGN_SHARED_SECRET_FILE", None);
        let secret = match (pick(self.shared_secret, "ATSIGN_SHARED_SECRET", None), secret_file) {
            (Some(_), Some(_)) => {
                return Err(wrong("--shared-secret", "give either the secret or --shared-secret-file"));
            }
            (Some(secret), None) => Some(SecretSource::Given(secret.trim().to_owned())),
            (None, file) => file.map(|file| SecretSource::File(file.into())),
        };
        let directory = pick(self.directory, "ATSIGN_DIRECTORY", None).unwrap_or_else(|| {
            let host = env("rootServerUrl").unwrap_or_else(|| "root.atsign.org".to_owned());
            format!("{host}:{}", env("rootServerPort").unwrap_or_else(|| "64".to_owned()))
        });

        let path = |flag: Option<String>, ours: &str, theirs: Option<&str>| {
            pick(flag, ours, None)
                .map(PathBuf::from)
                .or_else(|| theirs.and_then(&env).map(|path| reference::place(&path)))
        };
        let idle = |name, flag: Option<String>, ours: &str, theirs: &str, default| match (
            pick(flag, ours, None),
            env(theirs),
        ) {
            (Some(text), _) => seconds(name, &text),
            (None, Some(text)) => millis(name, &text),
            (None, None) => Ok(default),
        };
        let storage_dir = path(self.storage_dir, "ATSIGN_STORAGE_DIR", None);
        let their_storage_dir = path(None, "", Some("secondaryStoragePath"));
        let bytes =
            |name, flag, ours: &str| pick(flag, ours, None).map(|text| quantity(name, &text)).transpose();
        let admin_listen = pick(self.admin_listen, "ATSIGN_ADMIN_LISTEN", None);
        Ok(Options {
            listen: address(listen, port)?,
            at_sign,
            secret,
            admin_listen: admin_listen.map_or(Ok(SocketAddr::from(([0, 0, 0, 0], 9464))), |text| {
                text.parse().map_err(|_| wrong("--admin-listen", format!("{text:?} is not address:port")))
            })?,
            make_storage_dir: storage_dir.is_none() && their_storage_dir.is_some(),
            storage_dir: storage_dir.or(their_storage_dir).unwrap_or_else(|| "/atsign/storage".into()),
            tls_cert: path(self.tls_cert, "ATSIGN_TLS_CERT", Some("securityCertificateChainLocation"))
                .unwrap_or_else(|| reference::place("certs/fullchain.pem")),
            tls_key: path(self.tls_key, "ATSIGN_TLS_KEY", Some("securityPrivateKeyLocation"))
                .unwrap_or_else(|| reference::place("certs/privkey.pem")),
            peer_ca: path(self.peer_ca, "ATSIGN_PEER_CA", Some("securityTrustedCertificateLocation")),
            directory: host_and_port(directory)?,
            client_certificate_required: pick(
                self.client_certificate_required,
                "ATSIGN_CLIENT_CERTIFICATE_REQUIRED",
                Some("clientCertificateRequired"),
            )
            .map_or(Ok(true), |text| truth("--client-certificate-required", &text))?,
            limits_dir: path(self.limits_dir, "ATSIGN_LIMITS_DIR", None),
            memory_limit: bytes("--memory-limit", self.memory_limit, "ATSIGN_MEMORY_LIMIT")?,
            log_dir: path(self.log_dir, "ATSIGN_LOG_DIR", None),
            log_file_size: bytes("--log-file-size", self.log_file_size, "ATSIGN_LOG_FILE_SIZE")?
                .unwrap_or(1 << 20),
            log_level: pick(self.log_level, "ATSIGN_LOG_LEVEL", Some("logLevel"))
                .map_or(Ok(tracing::Level::INFO), |text| level(&text))?,
            holder: pick(self.holder_id, "ATSIGN_HOLDER_ID", None),
            admin_token_file: path(self.admin_token_file, "ATSIGN_ADMIN_TOKEN_FILE", None),
            max_connections: pick(self.max_connections, "ATSIGN_MAX_CONNECTIONS", Some("inbound_max_limit"))
                .map_or(Ok(200), |text| count("--max-connections", &text))?,
            idle_timeout: idle(
                "--idle-timeout",
                self.idle_timeout,
                "ATSIGN_IDLE_TIMEOUT",
                "inbound_idletime_millis",
                Duration::from_mins(10),
            )?,
            authenticated_idle_timeout: idle(
                "--authenticated-idle-timeout",
                self.authenticated_idle_timeout,
                "ATSIGN_AUTHENTICATED_IDLE_TIMEOUT",
                "authenticated_inbound_idletime_millis",
                Duration::from_hours(30 * 24),
            )?,
            store_cache: bytes("--store-cache", self.store_cache, "ATSIGN_STORE_CACHE")?,
            testing_mode: self.testing_mode
                || pick(None, "ATSIGN_TESTING_MODE", Some("testingMode"))
                    .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            tuning: reference::tuning(env)?,
            behaviour: self.behaviour.resolve(pick)?,
            lease_term: pick(self.lease_term, "ATSIGN_LEASE_TERM", None)
                .map_or(Ok(Duration::from_secs(30)), |text| term(&text))?,
        })
    }
}

fn host_and_port(text: String) -> Result<String, UsageError> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text),
        _ => Err(wrong("--directory", format!("{text:?} is not host:port"))),
    }
}

fn count(name: &'static str, text: &str) -> Result<usize, UsageError> {
    text.parse().map_err(|_| wrong(name, format!("{text:?} is not a number")))
}

/// The address to serve on: a port alone means all addresses; both may be given if they agree.
fn address(listen: Option<String>, port: Option<String>) -> Result<SocketAddr, UsageError> {
    let listen = listen
        .map(|text| {
            text.parse::<SocketAddr>().map_err(|_| wrong("--listen", format!("{text:?} is not address:port")))
        })
        .transpose()?;
    let port = port
        .map(|text| text.parse::<u16>().map_err(|_| wrong("--port", format!("{text:?} is not a port"))))
        .transpose()?;
    match (listen, port) {
        (Some(listen), Some(port)) if listen.port() != port => {
            Err(wrong("--port", format!("{port} is not the port of --listen {listen}")))
        }
        (Some(listen), _) => Ok(listen),
        (None, port) => Ok(SocketAddr::from(([0, 0, 0, 0], port.unwrap_or(6464)))),
    }
}

fn truth(name: &'static str, text: &str) -> Result<bool, UsageError> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(name, format!("{text:?} is neither true nor false"))),
    }
}

/// Bytes as Kubernetes writes them: `6291456`, `6Mi`, `6M`.
fn quantity(name: &'static str, text: &str) -> Result<u64, UsageError> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        other => return Err(wrong(name, format!("{other:?} is not a unit: use Ki, Mi or Gi"))),
    };
    let number: u64 =
        digits.parse().map_err(|_| wrong(name, format!("{text:?} is not a number of bytes")))?;
    number.checked_mul(unit).ok_or_else(|| wrong(name, format!("{text} is too much")))
}

/// Levels by our names, and by those of the reference server.
fn level(text: &str) -> Result<tracing::Level, UsageError> {
    match text.to_ascii_lowercase().as_str() {
        "error" | "severe" | "shout" => Ok(tracing::Level::ERROR),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "info" | "config" => Ok(tracing::Level::INFO),
        "debug" | "fine" => Ok(tracing::Level::DEBUG),
        "trace" | "finer" | "finest" | "all" => Ok(tracing::Level::TRACE),
        _ => Err(wrong("--log-level", format!("{text:?} is none of error, warn, info, debug, trace"))),
    }
}

fn seconds(name: &'static str, text: &str) -> Result<Duration, UsageError> {
    let seconds = text.parse().map_err(|_| wrong(name, format!("{text:?} is not a number of seconds")))?;
    at_least_a_second(name, Duration::from_secs(seconds))
}

fn millis(name: &'static str, text: &str) -> Result<Duration, UsageError> {
    let millis =
        text.parse().map_err(|_| wrong(name, format!("{text:?} is not a number of milliseconds")))?;
    at_least_a_second(name, Duration::from_millis(millis))
}

fn at_least_a_second(name: &'static str, idle: Duration) -> Result<Duration, UsageError> {
    if idle < Duration::from_secs(1) {
        return Err(wrong(name, "less than a second leaves nobody time to ask"));
    }
    Ok(idle)
}

/// A lease's term, as `--lease-term` gives it.
pub fn term(text: &str) -> Result<Duration, UsageError> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|term| (Duration::from_millis(300)..=Duration::from_hours(1)).contains(term))
        .ok_or_else(|| wrong("--lease-term", format!("{text:?} is not a number of seconds from 0.3 to 3600")))
}

#[cfg(test)]
mod tests;
