//! The gateway of the test cluster, Traefik: one address for many atSigns.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Namespace, directory_host, eventually, operator_ca};
use crate::client::Client;

/// Where it listens.
pub const PORT: u16 = 443;

/// Many tests use it at a time; the one that kills it is alone with it.
static TRAEFIK: RwLock<()> = RwLock::new(());

/// Holds the gateway for a test that needs it to stay.
pub fn stays() -> RwLockReadGuard<'static, ()> {
    TRAEFIK.read().unwrap_or_else(PoisonError::into_inner)
}

/// A Gateway like that of `examples/gateway.yaml`.
pub fn gateway(name: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: {name}}}, spec: {{
           gatewayClassName: traefik, listeners: [
             {{name: atsigns, protocol: TLS, port: {PORT}, hostname: '*.example.com', tls: {{mode: Passthrough}},
              allowedRoutes: {{kinds: [{{kind: TLSRoute}}], namespaces: {{from: All}}}}}}]}}}}"
    )
}

/// An AtSign behind a Gateway.
pub fn behind(gateway: &str, name: &str) -> String {
    format!(
        "{{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {{name: {name}}}, spec: {{
           expose: {{type: TLSRoute, hostname: {name}.example.com, gatewayRef: {{name: {gateway}}}}}}}}}"
    )
}

/// Connects to an atSign as the world does: by its own name, through the gateway.
pub fn connect(name: &str) -> Result<Client> {
    Client::connect(&format!("{name}.example.com"), PORT, &operator_ca()?)
}

/// The same, logged in with the CRAM secret that the operator made.
pub fn log_in(namespace: &Namespace, name: &str) -> Result<Client> {
    namespace.owner(connect(name)?, name)
}

/// What the directory answers for an atSign: `host:port`, or nothing.
pub fn published(name: &str) -> Result<Option<String>> {
    let answer = Client::connect(&directory_host(), 64, &operator_ca()?)?.request(name)?;
    let address = answer.trim_end_matches(['@', '\n', '\r']);
    Ok((address != "null").then(|| address.to_owned()))
}

/// Traefik's process, for a test that is alone with it. It runs again when this is dropped.
pub struct Traefik {
    command: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    pid: u32,
    runs: bool,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Traefik {
    /// The one that `cargo xtask test` started.
    pub fn alone() -> Result<Self> {
        let alone = TRAEFIK.write().unwrap_or_else(PoisonError::into_inner);
        let pid: u32 = std::fs::read_to_string(state("traefik.pid")?)?.trim().parse()?;
        let words = |file: &str| -> Result<Vec<Vec<u8>>> {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).context("Traefik does not run")?;
            Ok(bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect())
        };
        let (command, environment) = (words("cmdline")?, words("environ")?);
        Ok(Self { command, environment, pid, runs: true, _alone: alone })
    }

    /// Without a chance to say goodbye to anybody.
    pub fn kill(&mut self) -> Result<()> {
        let killed = Command::new("kill").args(["-9", &self.pid.to_string()]).status()?;
        ensure!(killed.success(), "kill -9 {}", self.pid);
        self.runs = false;
        eventually("nobody listens", Duration::from_secs(10), || {
            let listens = std::net::TcpStream::connect(("gateway.example.com", PORT)).is_ok();
            ensure!(!listens, "somebody does");
            Ok(())
        })
    }

    /// As it was started before: with the same mark, by which the cluster is taken down with it.
    pub fn start_again(&mut self) -> Result<()> {
        let word = |bytes: &Vec<u8>| std::ffi::OsStr::from_bytes(bytes).to_owned();
        let log = File::options().append(true).create(true).open(state("log/traefik.log")?)?;
        let mut command = Command::new(word(self.command.first().context("a program")?));
        command.args(self.command.iter().skip(1).map(word)).env_clear();
        for variable in &self.environment {
            if let Some(at) = variable.iter().position(|&byte| byte == b'=') {
                command.env(word(&variable[..at].to_vec()), word(&variable[at + 1..].to_vec()));
            }
        }
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting Traefik again")?;
        self.pid = child.id();
        self.runs = true;
        Ok(std::fs::write(state("traefik.pid")?, format!("{}\n", self.pid))?)
    }
}

impl Drop for Traefik {
    fn drop(&mut self) {
        if !self.runs {
            let _ = self.start_again();
        }
    }
}

fn state(file: &str) -> Result<PathBuf> {
    let state = std::env::var_os("ATSIGN_STATE").context("ATSIGN_STATE: run this by `cargo xtask test`")?;
    Ok(PathBuf::from(state).join(file))
}
