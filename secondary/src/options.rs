//! What the server is told when it starts: flags, then `ATSIGN_…` variables, then the reference server's variables,
//! then defaults.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use atsign_protocol::AtSign;
use clap::{Args, Parser, Subcommand};

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

/// What the binary can do beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make or remove the directory of one atSign on a shared volume
    #[command(subcommand)]
    Storage(StorageCommand),
}

/// Work on the root of a volume that many atSigns share.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Make the directory, if it is not there
    Init(Place),
    /// Remove the directory and everything in it
    Wipe(Place),
}

/// One directory right below the root of a volume.
#[derive(Debug, Args)]
pub struct Place {
    /// The root of the volume
    #[arg(long)]
    pub root: PathBuf,
    /// Name of the directory: lower case letters, digits, dots and dashes
    #[arg(long)]
    pub dir: String,
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
    /// Certificate chain, PEM, read again when it changes [default: certs/fullchain.pem] [env of the reference server:
    /// securityCertificateChainLocation]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Its key, PEM [default: certs/privkey.pem] [env of the reference server: securityPrivateKeyLocation]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Certificates, PEM, to trust in other servers beside the public ones [env of the reference server:
    /// securityTrustedCertificateLocation]
    #[arg(long, value_name = "FILE")]
    pub peer_ca: Option<String>,
    /// The atDirectory [default: root.atsign.org:64] [env of the reference server: rootServerUrl, rootServerPort]
    #[arg(long, value_name = "HOST:PORT")]
    pub directory: Option<String>,
    /// Directory with limits.json, read again when it changes
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
    /// Size of the store's page cache [default: 256Ki]
    #[arg(long, value_name = "BYTES")]
    pub store_cache: Option<String>,
    /// Let clients change settings with config:set [env of the reference server: testingMode]
    #[arg(long)]
    pub testing_mode: bool,
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
    /// Certificate chain.
    pub tls_cert: PathBuf,
    /// Its key.
    pub tls_key: PathBuf,
    /// Certificates to trust in other servers.
    pub peer_ca: Option<PathBuf>,
    /// The atDirectory, `host:port`.
    pub directory: String,
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
    /// Size of the store's page cache, KiB.
    pub store_cache_kib: u32,
    /// Whether clients may change settings.
    pub testing_mode: bool,
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
        if env("useTLS").is_some_and(|value| value.eq_ignore_ascii_case("false")) {
            return Err(wrong("useTLS", "this server speaks TLS only"));
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
        if !directory
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            return Err(wrong("--directory", format!("{directory:?} is not host:port")));
        }

        let path = |flag, ours: &str, theirs| pick(flag, ours, theirs).map(PathBuf::from);
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
            storage_dir: path(self.storage_dir, "ATSIGN_STORAGE_DIR", Some("secondaryStoragePath"))
                .unwrap_or_else(|| "/atsign/storage".into()),
            tls_cert: path(self.tls_cert, "ATSIGN_TLS_CERT", Some("securityCertificateChainLocation"))
                .unwrap_or_else(|| "certs/fullchain.pem".into()),
            tls_key: path(self.tls_key, "ATSIGN_TLS_KEY", Some("securityPrivateKeyLocation"))
                .unwrap_or_else(|| "certs/privkey.pem".into()),
            peer_ca: path(self.peer_ca, "ATSIGN_PEER_CA", Some("securityTrustedCertificateLocation")),
            directory,
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
                .map_or(Ok(200), |text| {
                    text.parse().map_err(|_| wrong("--max-connections", format!("{text:?} is not a number")))
                })?,
            store_cache_kib: bytes("--store-cache", self.store_cache, "ATSIGN_STORE_CACHE")?
                .map_or(256, |bytes| u32::try_from(bytes / 1024).unwrap_or(u32::MAX)),
            testing_mode: self.testing_mode
                || pick(None, "ATSIGN_TESTING_MODE", Some("testingMode"))
                    .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            lease_term: pick(self.lease_term, "ATSIGN_LEASE_TERM", None)
                .map_or(Ok(Duration::from_secs(30)), |text| term(&text))?,
        })
    }
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

fn term(text: &str) -> Result<Duration, UsageError> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|term| (Duration::from_millis(300)..=Duration::from_hours(1)).contains(term))
        .ok_or_else(|| wrong("--lease-term", format!("{text:?} is not a number of seconds from 0.3 to 3600")))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

    fn resolved(arguments: &[&str], env: &[(&str, &str)]) -> Result<Options, UsageError> {
        let arguments = std::iter::once(&"atsign-secondary").chain(arguments);
        let flags = CommandLine::try_parse_from(arguments).expect("flags").flags;
        flags.resolve(|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_reference_servers_command_line_works_as_it_is() {
        for arguments in [
            ["-a", "@alice", "-p", "25000", "-s", "secret"],
            ["--at_sign", "@alice", "--server_port", "25000", "--shared_secret", "secret"],
            ["--at-sign", "@alice", "--port", "25000", "--shared-secret", "secret"],
        ] {
            let options = resolved(&arguments, &[]).expect("options");
            assert_eq!(options.at_sign.as_str(), "@alice");
            assert_eq!(options.listen, SocketAddr::from(([0, 0, 0, 0], 25000)));
            assert_eq!(options.secret, Some(SecretSource::Given("secret".to_owned())));
        }
    }

    #[test]
    fn a_flag_wins_over_our_variable_and_that_over_the_reference_servers() {
        let theirs = ("secondaryStoragePath", "/theirs");
        let ours = ("ATSIGN_STORAGE_DIR", "/ours");
        let table: [Row; 4] = [
            (&["-a", "@alice", "--storage-dir", "/flag"], &[ours, theirs], "/flag"),
            (&["-a", "@alice"], &[ours, theirs], "/ours"),
            (&["-a", "@alice"], &[theirs], "/theirs"),
            (&["-a", "@alice"], &[], "/atsign/storage"),
        ];
        for (arguments, env, expected) in table {
            let options = resolved(arguments, env).expect("options");
            assert_eq!(options.storage_dir, PathBuf::from(expected));
        }
    }

    #[test]
    fn port_and_listen_may_both_be_given_if_they_agree() {
        let both = ["-a", "@alice", "-p", "7000", "--listen", "127.0.0.1:7000"];
        assert_eq!(resolved(&both, &[]).expect("options").listen, SocketAddr::from(([127, 0, 0, 1], 7000)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_flag() {
        let table: [Row; 9] = [
            (&[], &[], "--at-sign"),
            (&["-a", "@"], &[], "--at-sign"),
            (&["-a", "@alice", "-p", "7000", "--listen", "127.0.0.1:7001"], &[], "--port"),
            (&["-a", "@alice", "-p", "seven"], &[], "--port"),
            (&["-a", "@alice", "-s", "x", "--shared-secret-file", "f"], &[], "--shared-secret"),
            (&["-a", "@alice", "--directory", "root"], &[], "--directory"),
            (&["-a", "@alice", "--memory-limit", "6Zi"], &[], "--memory-limit"),
            (&["-a", "@alice", "--lease-term", "0"], &[], "--lease-term"),
            (&["-a", "@alice"], &[("useTLS", "false")], "useTLS"),
        ];
        for (arguments, env, name) in table {
            assert_eq!(resolved(arguments, env).expect_err("refused").name, name, "{arguments:?}");
        }
    }

    #[test]
    fn the_directory_comes_from_the_reference_servers_two_variables_too() {
        let env = [("rootServerUrl", "vip.ve.atsign.zone"), ("rootServerPort", "6400")];
        assert_eq!(resolved(&["-a", "@alice"], &env).expect("options").directory, "vip.ve.atsign.zone:6400");
        assert_eq!(resolved(&["-a", "@alice"], &[]).expect("options").directory, "root.atsign.org:64");
    }

    #[test]
    fn bytes_are_written_as_in_kubernetes() {
        for (text, bytes) in
            [("6291456", 6_291_456), ("6Mi", 6 << 20), ("24M", 24_000_000), ("256Ki", 256 << 10)]
        {
            assert_eq!(quantity("--memory-limit", text), Ok(bytes));
        }
    }

    #[test]
    fn testing_mode_is_off_unless_a_flag_or_either_variable_says_so() {
        for (flag, env, on) in [
            (None, None, false),
            (Some("--testing-mode"), None, true),
            (None, Some(("ATSIGN_TESTING_MODE", "true")), true),
            (None, Some(("testingMode", "true")), true),
            (None, Some(("testingMode", "false")), false),
        ] {
            let arguments: Vec<_> = ["-a", "@alice"].into_iter().chain(flag).collect();
            let options = resolved(&arguments, env.as_slice()).expect("options");
            assert_eq!(options.testing_mode, on, "{flag:?} {env:?}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let options = resolved(&["-a", "@alice", "-s", "hunter2"], &[]).expect("options");
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
