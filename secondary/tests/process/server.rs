//! The real binary on a volume that several of them may share.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use atsign_tests::client::Client;
use atsign_tests::ports;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const SECRET: &str = "5ec2e7";

/// What one atSign's servers share: the storage directory, certificate and secret.
pub(crate) struct Volume {
    folder: TempDir,
    authority: String,
}

impl Volume {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority");
        let key = KeyPair::generate().expect("key");
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &issuer))
            .expect("certificate");
        fs::write(folder.path().join("tls.crt"), certificate.pem()).expect("write");
        fs::write(folder.path().join("tls.key"), key.serialize_pem()).expect("write");
        fs::write(folder.path().join("cram"), format!("{SECRET}\n")).expect("write");
        fs::create_dir(folder.path().join("data")).expect("folder");
        Self { authority: issuer.pem(), folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.path("data")
    }

    /// Starts a server of @alice, for a holder, with the term of its lease in seconds.
    pub(crate) fn start(&self, holder: &str, term: &str) -> Server {
        self.start_with(&["--at-sign", "@alice", "--holder-id", holder, "--lease-term", term])
    }

    pub(crate) fn start_with(&self, flags: &[&str]) -> Server {
        let storage = self.storage();
        self.start_on(storage.to_str().expect("a path"), flags)
    }

    /// The same with the storage directory under another path, as another node sees it.
    pub(crate) fn start_on(&self, storage: &str, flags: &[&str]) -> Server {
        let [port, admin] = ports::free().expect("ports");
        let log = self.path(&format!("log-{port}"));
        let child = Command::new(env!("CARGO_BIN_EXE_atsign-secondary"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
            .args(["--shared-secret-file".as_ref(), self.path("cram").as_os_str()])
            .args(["--tls-cert".as_ref(), self.path("tls.crt").as_os_str()])
            .args(["--tls-key".as_ref(), self.path("tls.key").as_os_str()])
            .args(["--storage-dir", storage])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("log"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        Server { child, port, admin, log, authority: self.authority.clone() }
    }
}

impl Volume {
    /// Starts a server as a deployment of the reference server does: its arguments, its variables, its paths.
    pub(crate) fn start_as_the_reference_server(&self, variables: &[(&str, &str)]) -> Server {
        let certificates = self.path("certs");
        fs::create_dir(&certificates).expect("folder");
        fs::rename(self.path("tls.crt"), certificates.join("fullchain.pem")).expect("rename");
        fs::rename(self.path("tls.key"), certificates.join("privkey.pem")).expect("rename");
        let [port, admin] = ports::free().expect("ports");
        let log = self.path("log");
        let child = Command::new(env!("CARGO_BIN_EXE_atsign-secondary"))
            .args(["-a", "@alice", "-p", &port.to_string(), "-s", SECRET])
            .envs(variables.iter().copied())
            // The one port that the reference server does not have.
            .env("ATSIGN_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("log"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        Server { child, port, admin, log, authority: self.authority.clone() }
    }
}

/// One process. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    admin: u16,
    log: PathBuf,
    authority: String,
}

impl Server {
    /// Waits until it is ready, and returns how long that took.
    pub(crate) fn ready(&mut self) -> Duration {
        let began = Instant::now();
        while self.get("/readyz").0 != 200 {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "not ready: {}\n{}",
                self.get("/readyz").1,
                self.log()
            );
            assert_eq!(self.child.try_wait().expect("wait"), None, "it ended:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    /// Status and body of a request to the admin port; status 0 while there is none.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or((0, String::new()))
    }

    fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }

    /// Where the admin port is.
    pub(crate) fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    /// A connection of somebody.
    pub(crate) fn stranger(&self) -> Client {
        Client::connect_to(&format!("127.0.0.1:{}", self.port), "localhost", &self.authority)
            .expect("connect")
    }

    /// A connection of the owner.
    pub(crate) fn owner(&self) -> Client {
        self.connector()().expect("a connection of the owner")
    }

    /// Makes connections of the owner.
    pub(crate) fn connector(&self) -> impl Fn() -> anyhow::Result<Client> + Clone + Send + 'static {
        let (address, authority) = (format!("127.0.0.1:{}", self.port), self.authority.clone());
        move || {
            let mut client = Client::connect_to(&address, "localhost", &authority)?;
            client.cram("@alice", SECRET)?;
            Ok(client)
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("signal");
    }

    /// Waits for its end and returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.status().code()
    }

    fn status(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended()
    }

    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.status();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A volume of a few megabytes, mounted over a directory until dropped.
pub(crate) struct SmallVolume(PathBuf);

impl SmallVolume {
    pub(crate) fn mount(directory: &Path, size: &str) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory)
            .status()
            .expect("mount");
        assert!(status.success(), "cannot mount a small volume");
        Self(directory.to_owned())
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left behind still has files open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
