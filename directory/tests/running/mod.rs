//! A running directory: the binary on loopback, with a certificate made for it.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A client's connection.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A certificate authority, and a certificate of it for `localhost`.
pub(crate) struct Authority {
    root: rustls::pki_types::CertificateDer<'static>,
    root_pem: String,
    certificate: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &ca))
            .expect("a certificate");
        Self {
            root: ca.der().clone(),
            root_pem: ca.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `tls.crt`, `tls.key` and `ca.crt`.
    pub(crate) fn write(&self, folder: &Path) {
        std::fs::write(folder.join("ca.crt"), &self.root_pem).expect("write");
        std::fs::write(folder.join("tls.crt"), &self.certificate).expect("write");
        std::fs::write(folder.join("tls.key"), &self.key).expect("write");
    }
}

/// The running binary; killed on drop.
pub(crate) struct Directory {
    child: Child,
    folder: tempfile::TempDir,
    authority: Authority,
    port: u16,
    admin_port: u16,
    log: Arc<Mutex<String>>,
}

impl Directory {
    /// A directory that answers from `addresses`, with more `arguments`.
    pub(crate) fn of(addresses: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("addresses"), addresses).expect("write");
        Self::start(
            folder,
            Command::new(env!("CARGO_BIN_EXE_atsign-directory"))
                .args(["--file", "addresses"])
                .args(arguments),
        )
    }

    /// A directory with a source of `arguments` and `environment`.
    pub(crate) fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_atsign-directory"));
        Self::start(folder, command.args(arguments).envs(environment.iter().copied()))
    }

    /// A directory that answers from the cluster of `kubeconfig`.
    pub(crate) fn of_cluster(kubeconfig: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start(
            folder,
            Command::new(env!("CARGO_BIN_EXE_atsign-directory"))
                .arg("--kubernetes")
                .env("KUBECONFIG", kubeconfig),
        )
    }

    /// The exit code and the log of a directory that does not start with `addresses`.
    pub(crate) fn refused(addresses: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("addresses"), addresses).expect("write");
        Authority::new().write(folder.path());
        let output = command_on_loopback(
            Command::new(env!("CARGO_BIN_EXE_atsign-directory")).args(["--file", "addresses"]),
            folder.path(),
        )
        .output()
        .expect("the directory starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The exit code of a directory that is told to end after nobody reads any more what it says.
    pub(crate) fn unread() -> Option<i32> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("addresses"), "").expect("write");
        Authority::new().write(folder.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_atsign-directory"));
        let mut child = command_on_loopback(command.args(["--file", "addresses"]), folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut first = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
        assert!(first.contains("the directory is up"), "{first}");
        drop(child.stderr.take());
        terminate(&child);
        child.wait().expect("it ends").code()
    }

    fn start(folder: tempfile::TempDir, command: &mut Command) -> Self {
        let authority = Authority::new();
        authority.write(folder.path());
        let mut child =
            command_on_loopback(command, folder.path()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (port, admin_port) = loop {
            let line = lines.next().expect("the directory says where it listens").expect("UTF-8");
            let entry: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
            log.lock().expect("no panic").push_str(&(line + "\n"));
            if entry["message"] == "the directory is up" {
                let port = |key: &str| {
                    let address: std::net::SocketAddr =
                        entry[key].as_str().expect("text").parse().expect("an address");
                    address.port()
                };
                break (port("listen"), port("admin"));
            }
        };
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().expect("no panic").push_str(&(line + "\n"));
            }
        });
        Self { child, folder, authority, port, admin_port, log }
    }

    /// A TLS connection that trusts the directory's authority.
    pub(crate) fn connect(&self) -> Stream {
        self.try_connect(&self.authority).expect("the handshake works")
    }

    /// A TLS connection that trusts `authority`, after the handshake.
    pub(crate) fn try_connect(&self, authority: &Authority) -> std::io::Result<Stream> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut socket = self.connect_without_tls();
        connection.complete_io(&mut socket)?;
        Ok(StreamOwned::new(connection, socket))
    }

    /// A bare TCP connection.
    pub(crate) fn connect_without_tls(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the directory listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        stream
    }

    /// What `address` the directory gives for `name`, asked on a connection of its own; empty where it only closes.
    pub(crate) fn look_up(&self, name: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(format!("{name}\n").as_bytes()).expect("write");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n@") && stream.read_exact(&mut byte).is_ok() {
            answer.push(byte[0]);
        }
        String::from_utf8(answer).expect("UTF-8").trim_matches(['@', '\r', '\n']).to_owned()
    }

    /// The answer, head and body, to a GET of the admin port.
    pub(crate) fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port)).expect("the admin port listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        answer
    }

    /// Where it answers, for another directory to ask.
    pub(crate) fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The file of the authority that signed its certificate.
    pub(crate) fn ca(&self) -> String {
        self.folder.path().join("ca.crt").display().to_string()
    }

    /// Writes the file that is answered from.
    pub(crate) fn write_addresses(&self, addresses: &str) {
        std::fs::write(self.folder.path().join("addresses"), addresses).expect("write");
    }

    /// Puts another certificate into the files.
    pub(crate) fn present(&self, authority: &Authority) {
        authority.write(self.folder.path());
    }

    /// What was logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// The resident memory of the process in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        terminate(&self.child);
    }

    /// Waits for its end and returns the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn terminate(child: &Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill").success());
}

fn command_on_loopback<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--tls-cert", "tls.crt", "--tls-key", "tls.key"])
        .current_dir(folder)
}

/// Waits until `done` says so; `what` is told where it never does.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not after 30 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
