//! A secondary server of this workspace, started as a process for a test.
//!
//! Unless a test says otherwise, the binary is `atsign-secondary` in the folder that `ATSIGN_BIN_DIR` names, else beside the test's own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::admin;
use crate::cgroup::MemoryGroup;
use crate::client::Client;
use crate::ports;

/// How long a server may take to greet; opening an empty store takes milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The host name in the server's certificate.
pub(crate) const HOST: &str = "localhost";

/// Starts its arguments, prints the process id, and when standard input ends, kills what it started and removes the
/// folder. So nothing is left of a server that a test process held for its whole life. One that has ended is not killed:
/// its number may be another process's by now.
pub(crate) const GUARD: &str = r#"exec 3<&0; folder=$1; shift; "$@" </dev/null >>"$folder/log" 2>&1 & child=$!; echo $child
cat <&3 >/dev/null
read -r _ _ _ parent _ 2>/dev/null </proc/$child/stat && [ "$parent" = $$ ] && kill -KILL $child
wait $child 2>/dev/null; rm -rf "$folder""#;

/// A certificate authority and the certificate of one server.
#[derive(Debug)]
pub struct Credentials {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A running secondary server; killed when dropped or when the test process ends.
#[derive(Debug)]
pub struct Secondary {
    /// The atSign, with its `@`.
    pub at_sign: String,
    /// The secret of the onboarding.
    pub secret: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens on loopback.
    pub port: u16,
    /// Where its admin port listens on loopback.
    pub admin_port: u16,
    /// Its files: `tls.crt`, `tls.key`, `cram`, `data`, `log`.
    pub folder: PathBuf,
    program: PathBuf,
    storage: PathBuf,
    credentials: Arc<Credentials>,
    flags: Vec<String>,
    /// The control group that it runs in, where that is not the test's.
    group: Option<PathBuf>,
    /// One for each start. All live until the end: the first to go takes the folder away.
    guards: Vec<Child>,
}

impl Credentials {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// A new certificate for [`HOST`] and its key.
    pub(crate) fn pair(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([HOST.to_owned()])?.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok((certificate.der().clone(), key))
    }

    /// Writes a new certificate for [`HOST`] and its key, each by rename, as a mounted Secret changes.
    pub(crate) fn write_pair(&self, folder: &Path) -> Result<()> {
        self.write_pair_for(HOST, folder)
    }

    /// The same for another host.
    pub(crate) fn write_pair_for(&self, host: &str, folder: &Path) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.signed_by(&key, &self.issuer)?;
        for (name, pem) in [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())] {
            std::fs::write(folder.join("new"), pem)?;
            std::fs::rename(folder.join("new"), folder.join(name))?;
        }
        Ok(())
    }
}

/// Brings a program's pages into memory at our cost: they are charged to the group that read them first, and the code of
/// an unoptimised build is several times what a small group has.
fn charge_to_us(program: &Path) -> Result<()> {
    let mut file = std::fs::File::open(program)?;
    // Pages that a group before this one was charged for would go with its limit.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    std::io::copy(&mut file, &mut std::io::sink())?;
    Ok(())
}

impl Credentials {
    /// The certificate of the authority, PEM.
    pub(crate) fn authority(&self) -> String {
        self.issuer.pem()
    }
}

impl Secondary {
    /// Starts a server of an atSign with an empty store and returns once it greets.
    pub fn start(at_sign: &str) -> Result<Self> {
        Self::start_with(at_sign, &[])
    }

    /// The same with more flags.
    pub fn start_with(at_sign: &str, flags: &[&str]) -> Result<Self> {
        Self::start_trusted(at_sign, None, flags, Arc::new(Credentials::new()?))
    }

    /// The same in a control group of its own.
    pub fn start_in(group: &MemoryGroup, at_sign: &str, flags: &[&str]) -> Result<Self> {
        let program = binary("atsign-secondary")?;
        charge_to_us(&program)?;
        let mut server = Self::new(program, at_sign, flags, Arc::new(Credentials::new()?))?;
        server.group = Some(group.processes());
        server.start_now()
    }

    /// The same with a certificate of an authority that several share, and a storage directory that outlives it.
    pub(crate) fn start_trusted(
        at_sign: &str,
        storage: Option<&Path>,
        flags: &[&str],
        credentials: Arc<Credentials>,
    ) -> Result<Self> {
        let mut server = Self::new(binary("atsign-secondary")?, at_sign, flags, credentials)?;
        if let Some(storage) = storage {
            storage.clone_into(&mut server.storage);
        }
        server.start_now()
    }

    /// Starts a program on a storage directory that outlives it.
    pub fn start_on(program: &Path, storage: &Path, at_sign: &str, flags: &[&str]) -> Result<Self> {
        let mut server = Self::new(program.to_owned(), at_sign, flags, Arc::new(Credentials::new()?))?;
        storage.clone_into(&mut server.storage);
        server.start_now()
    }

    fn start_now(mut self) -> Result<Self> {
        self.spawn()?;
        self.wait_until_it_serves()?;
        Ok(self)
    }

    /// Its files and ports, before it is started.
    fn new(program: PathBuf, at_sign: &str, flags: &[&str], credentials: Arc<Credentials>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("atsign-secondary-").tempdir()?.keep();
        credentials.write_pair(&folder)?;
        // As long as the one that the operator makes.
        let secret = "5ec2e7".repeat(21) + "00";
        std::fs::write(folder.join("cram"), &secret)?;
        let storage = folder.join("data");
        std::fs::create_dir(&storage)?;
        let [port, admin_port] = ports::free()?;
        Ok(Self {
            at_sign: at_sign.to_owned(),
            secret,
            pid: 0,
            port,
            admin_port,
            folder,
            program,
            storage,
            credentials,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            group: None,
            guards: Vec::new(),
        })
    }

    /// Kills it, and starts it again with the same files on the same ports.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again()
    }

    /// Kills it and returns once nothing of it is left.
    pub fn kill(&self) -> Result<()> {
        self.signal("KILL")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline && self.is_alive() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Starts it again after it was killed.
    pub fn start_again(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_until_it_serves()
    }

    /// The same in a control group.
    pub fn restart_in(&mut self, group: &MemoryGroup) -> Result<()> {
        self.group = Some(group.processes());
        self.restart()
    }

    /// Kills it, starts it again, and returns how long that took until it said that it is ready.
    pub fn restart_until_ready(&mut self) -> Result<Duration> {
        self.signal("KILL")?;
        while self.is_alive() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let began = Instant::now();
        self.spawn()?;
        while !matches!(admin::request(self.admin_port, "GET /readyz", None), Ok((200, _))) {
            ensure!(began.elapsed() < START_TIMEOUT, "the server does not get ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(began.elapsed())
    }

    fn spawn(&mut self) -> Result<()> {
        let Self { at_sign, port, admin_port, folder, program, storage, .. } = &*self;
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(folder);
        if let Some(group) = &self.group {
            guard.args(["sh", "-c", "echo $$ >\"$0\"; exec \"$@\""]).arg(group);
        }
        let mut guard = guard
            .arg(program)
            .args(["--at-sign", at_sign, "--listen", &format!("127.0.0.1:{port}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin_port}")])
            .arg("--shared-secret-file")
            .arg(folder.join("cram"))
            .arg("--tls-cert")
            .arg(folder.join("tls.crt"))
            .arg("--tls-key")
            .arg(folder.join("tls.key"))
            .arg("--storage-dir")
            .arg(storage)
            .args(&self.flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start sh")?;
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().context("the guard's standard output")?).read_line(&mut pid)?;
        self.pid = pid.trim().parse().with_context(|| format!("the guard printed {pid:?}"))?;
        self.guards.push(guard);
        Ok(())
    }

    fn wait_until_it_serves(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // Greeting alone is not enough: a server also greets while it waits for its store.
            let served = self.connect().and_then(|mut client| client.request("scan"));
            match served {
                Ok(answer) if answer.starts_with("data:") => return Ok(()),
                _ if Instant::now() < deadline && self.is_alive() => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => bail!("the server does not serve: {other:?}\n{}", self.log()),
            }
        }
    }

    /// A connection that has read the greeting.
    pub fn connect(&self) -> Result<Client> {
        Client::connect_to(&format!("127.0.0.1:{}", self.port), HOST, &self.authority())
    }

    /// A connection that has proved to be the owner by the secret.
    pub fn connect_as_owner(&self) -> Result<Client> {
        self.connector()()
    }

    /// The same from another address on loopback.
    pub fn connect_as_owner_from(&self, source: Ipv4Addr) -> Result<Client> {
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let mut client = Client::connect_from(source, address, HOST, &self.authority())?;
        client.cram(&self.at_sign, &self.secret)?;
        Ok(client)
    }

    /// Makes connections that have proved to be the owner by the secret.
    pub fn connector(&self) -> impl Fn() -> Result<Client> + Clone + Send + 'static {
        let (address, authority) = (format!("127.0.0.1:{}", self.port), self.authority());
        let (at_sign, secret) = (self.at_sign.clone(), self.secret.clone());
        move || {
            let mut client = Client::connect_to(&address, HOST, &authority)?;
            client.cram(&at_sign, &secret)?;
            Ok(client)
        }
    }

    /// The status of a path of its admin port.
    pub fn admin_status(&self, path: &str) -> Result<u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.set_read_timeout(Some(START_TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no answer of an admin port")
    }

    /// The certificate authority of the server's certificate, PEM.
    pub fn authority(&self) -> String {
        self.credentials.authority()
    }

    /// Puts another certificate of the same authority into place.
    pub fn renew_certificate(&self) -> Result<()> {
        self.credentials.write_pair(&self.folder)
    }

    /// Whether its process runs, or a thread of it: one that waits for a volume holds its ports even once it was killed.
    pub fn is_alive(&self) -> bool {
        let process = PathBuf::from(format!("/proc/{}", self.pid));
        // The guard has not waited for it yet, so a server that ended is a zombie: state Z, after the name in brackets.
        let runs = std::fs::read_to_string(process.join("stat"))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')));
        runs || std::fs::read_dir(process.join("task")).is_ok_and(|threads| threads.count() > 1)
    }

    /// Sends it a signal, `TERM` or `KILL`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &self.pid.to_string()])
            .status()?;
        ensure!(status.success(), "cannot send {name} to {}", self.pid);
        Ok(())
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Secondary {
    fn drop(&mut self) {
        for guard in self.guards.iter_mut().rev() {
            if let Some(mut stdin) = guard.stdin.take() {
                let _ = stdin.flush();
            }
            // The guard reaps its child before it ends.
            let _ = guard.wait();
        }
    }
}

pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("ATSIGN_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        // target/debug/deps/<test>
        None => std::env::current_exe()?.ancestors().nth(2).context("the folder of the test")?.to_owned(),
    };
    let binary = folder.join(name);
    ensure!(binary.exists(), "{} is missing: cargo build -p {name}", binary.display());
    Ok(binary)
}
