//! Several secondary servers that find each other through a directory, as processes with one certificate authority.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::client::Client;
use crate::ports;
use crate::secondary::{Credentials, GUARD, HOST, Secondary, binary};
use crate::stand_in::StandIn;

/// How long the directory may take to start, and to read its file again.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a server may take to make its signing key.
const SIGNING_KEY: Duration = Duration::from_mins(2);

/// A directory, and what the servers that use it share. Killed when dropped.
#[derive(Debug)]
pub struct Network {
    folder: PathBuf,
    port: u16,
    credentials: Arc<Credentials>,
    guard: Child,
}

impl Network {
    /// Starts a directory that knows nobody.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("atsign-directory-").tempdir()?.keep();
        let credentials = Arc::new(Credentials::new()?);
        credentials.write_pair(&folder)?;
        std::fs::write(folder.join("ca.crt"), credentials.authority())?;
        std::fs::write(folder.join("addresses"), "")?;
        let [port, admin_port] = ports::free()?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&folder)
            .arg(binary("atsign-directory")?)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin_port}")])
            .arg("--tls-cert")
            .arg(folder.join("tls.crt"))
            .arg("--tls-key")
            .arg(folder.join("tls.key"))
            .arg("--file")
            .arg(folder.join("addresses"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start sh")?;
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().context("the guard's standard output")?).read_line(&mut pid)?;
        Ok(Self { folder, port, credentials, guard })
    }

    /// Starts a server and returns once the directory knows it.
    pub fn join(&self, at_sign: &str) -> Result<Secondary> {
        self.join_with(at_sign, &[])
    }

    /// The same with more flags.
    pub fn join_with(&self, at_sign: &str, flags: &[&str]) -> Result<Secondary> {
        self.join_on(None, at_sign, flags)
    }

    /// The same with a storage directory that outlives it.
    pub fn join_on(&self, storage: Option<&Path>, at_sign: &str, flags: &[&str]) -> Result<Secondary> {
        let directory = format!("{HOST}:{}", self.port);
        let authority = self.authority_file();
        let mut all = vec!["--directory", &directory, "--peer-ca", &authority];
        all.extend(flags);
        let server = Secondary::start_trusted(at_sign, storage, &all, Arc::clone(&self.credentials))?;
        self.publish(at_sign, server.port)?;
        wait_for_signing_key(&server)?;
        Ok(server)
    }

    /// Has the directory say that an atSign's server is at a port of this machine, and returns once it does.
    pub fn publish(&self, at_sign: &str, port: u16) -> Result<()> {
        let name = at_sign.trim_start_matches('@');
        let file = self.folder.join("addresses");
        let known = std::fs::read_to_string(&file)?;
        let mut lines: Vec<_> =
            known.lines().filter(|line| line.split(' ').next() != Some(name)).map(str::to_owned).collect();
        lines.push(format!("{name} {HOST}:{port}\n"));
        std::fs::write(self.folder.join("new"), lines.join("\n"))?;
        std::fs::rename(self.folder.join("new"), &file)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.find(name).unwrap_or_default();
            if found.trim_end_matches(['@', '\n', '\r']) == format!("{HOST}:{port}") {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the directory answers {found:?} for {at_sign}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Takes the place of an atSign's server: the test itself answers who comes.
    pub fn stand_in(&self, at_sign: &str) -> Result<StandIn> {
        let stand_in = StandIn::new(at_sign, Arc::clone(&self.credentials))?;
        self.publish(at_sign, stand_in.port()?)?;
        Ok(stand_in)
    }

    /// The file of the authority that all trust.
    pub fn authority_file(&self) -> String {
        self.folder.join("ca.crt").to_string_lossy().into_owned()
    }

    fn find(&self, name: &str) -> Result<String> {
        let address = format!("127.0.0.1:{}", self.port);
        Client::connect_to(&address, HOST, &self.credentials.authority())?.request(name)
    }
}

/// Until a server has made its signing key other servers do not believe it, and a busy machine takes its time for that.
fn wait_for_signing_key(server: &Secondary) -> Result<()> {
    let deadline = Instant::now() + SIGNING_KEY;
    let lookup = format!("lookup:signing_publickey{}", server.at_sign);
    while !server.connect()?.request(&lookup)?.starts_with("data:") {
        ensure!(Instant::now() < deadline, "{} has no signing key\n{}", server.at_sign, server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.guard.stdin.take() {
            let _ = stdin.flush();
        }
        // The guard reaps its child before it ends.
        let _ = self.guard.wait();
    }
}
