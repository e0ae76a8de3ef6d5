//! A real Kubernetes API server without nodes: etcd and kube-apiserver on loopback, in a temporary folder.
//!
//! For whatever ends at the API: schemas and CEL, server-side apply, watches, RBAC, what an operator writes. Nothing
//! runs pods here and nothing collects garbage: no controller is there but the one under test. It takes about five
//! seconds to start. The servers and their folder end with the [`ApiServer`], and also when the test process dies: each
//! server hangs on a shell that waits for the end of a pipe that only this process holds, and etcd's takes the folder.
//!
//! The environment variable `ATSIGN_CLUSTER_BIN` names the folder of the binaries `etcd`, `kube-apiserver` and
//! `kubectl`; `cargo xtask test` sets it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::ports;

/// How long a server may take to answer; a busy two-core machine needs a quarter of it.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// Starts its arguments, prints the process id, and when standard input ends, ends it and removes the folder that was
/// named first, if any.
const GUARD: &str = r#"exec 3<&0; folder=$1; shift; "$@" </dev/null >&2 & child=$!; echo $child; cat <&3 >/dev/null
kill -KILL $child 2>/dev/null; wait $child; [ -z "$folder" ] || rm -rf "$folder""#;

/// A running etcd and kube-apiserver.
#[derive(Debug)]
pub struct ApiServer {
    /// A kubeconfig file of an administrator (group `system:masters`).
    pub kubeconfig: PathBuf,
    port: u16,
    etcd_port: u16,
    api: Option<Server>,
    etcd: Server,
    binaries: PathBuf,
    /// Flags of the API server beside the usual ones.
    flags: Vec<String>,
    folder: PathBuf,
}

impl ApiServer {
    /// Starts both servers and returns once the API server is ready.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with more flags of the API server.
    pub fn start_with(flags: &[&str]) -> Result<Self> {
        let binaries = PathBuf::from(
            std::env::var_os("ATSIGN_CLUSTER_BIN")
                .context("ATSIGN_CLUSTER_BIN is not set: it names the folder of etcd, kube-apiserver and kubectl; run this by `cargo xtask test`")?,
        );
        let folder = tempfile::Builder::new().prefix("atsign-apiserver-").tempdir()?;
        let [port, etcd_port, peer_port] = ports::free()?;
        let ca = write_credentials(folder.path())?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_text(port, &ca))?;

        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = Server::start(
            folder.path(),
            "etcd",
            Some(folder.path()),
            Command::new(binaries.join("etcd"))
                .args(["--data-dir", "etcd", "--unsafe-no-fsync", "--log-level", "warn"])
                .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
                .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
                .arg(format!("--initial-cluster=default={peer_url}")),
        )?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let folder = folder.keep();
        let mut server = Self { kubeconfig, port, etcd_port, api: None, etcd, binaries, flags, folder };
        server.start_api()?;
        Ok(server)
    }

    /// Starts the API server again after [`stop_api`](Self::stop_api): same port, same data.
    pub fn start_api(&mut self) -> Result<()> {
        let api = Server::start(
            &self.folder,
            "kube-apiserver",
            None,
            Command::new(self.binaries.join("kube-apiserver"))
                .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port))
                .arg(format!("--secure-port={}", self.port))
                .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
                // A loopback address cannot be an endpoint of the Service `kubernetes`, and nobody needs it here.
                .arg("--endpoint-reconciler-type=none")
                .args(["--tls-cert-file=server.crt", "--tls-private-key-file=server.key"])
                .args(["--token-auth-file=tokens.csv", "--authorization-mode=RBAC"])
                .args([
                    "--service-account-key-file=accounts.pub",
                    "--service-account-signing-key-file=accounts.key",
                ])
                .args(["--service-account-issuer=https://kubernetes.default.svc"])
                .args(["--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged"])
                // No controller makes the account `default` here, and pods must be creatable all the same.
                .arg("--disable-admission-plugins=ServiceAccount")
                .args(&self.flags),
        )?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if self.kubectl(&["get", "--raw", "/readyz"], "")?.status.success() {
                break;
            }
            ensure!(api.is_alive(), "kube-apiserver ended:\n{}", api.last_words());
            ensure!(self.etcd.is_alive(), "etcd ended:\n{}", self.etcd.last_words());
            if Instant::now() > deadline {
                bail!("kube-apiserver is not ready after {START_TIMEOUT:?}:\n{}", api.last_words());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        self.api = Some(api);
        Ok(())
    }

    /// Kills the API server, as an outage of the control plane does; etcd and its data stay.
    pub fn stop_api(&mut self) {
        self.api = None;
    }

    /// Runs kubectl as the administrator, with `input` on its standard input, and returns what came of it.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child = Command::new(self.binaries.join("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .env("HOME", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start kubectl from {}", self.binaries.display()))?;
        let mut stdin = child.stdin.take().context("kubectl's standard input")?;
        // kubectl may end without reading; then what it printed says why, not this write.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Ok(child.wait_with_output()?)
    }

    /// Runs kubectl and returns its standard output; an error with its standard error where it fails.
    pub fn kubectl_ok(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.kubectl(arguments, input)?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Applies the project's CRDs from the files that users get, and waits until the API serves them.
    pub fn install_crds(&self) -> Result<()> {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        for file in ["atsigns.yaml", "atsigntiers.yaml"] {
            self.kubectl_ok(&["apply", "--server-side", "-f", &crds.join(file).display().to_string()], "")?;
        }
        for crd in ["crd/atsigns.atsign.dev", "crd/atsigntiers.atsign.dev"] {
            self.kubectl_ok(&["wait", "--for=condition=Established", "--timeout=30s", crd], "")?;
        }
        Ok(())
    }

    /// The folder of the cluster's binaries.
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }
}

/// One server process under its guard; killed on drop.
#[derive(Debug)]
struct Server {
    guard: Child,
    pid: u32,
    log: PathBuf,
}

impl Server {
    /// Starts it in a folder; `takes` goes with it.
    fn start(folder: &Path, name: &str, takes: Option<&Path>, command: &Command) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(takes.unwrap_or(Path::new("")))
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(&log)?)
            .spawn()
            .context("start sh")?;
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().context("the guard's standard output")?).read_line(&mut pid)?;
        let pid = pid.trim().parse().with_context(|| format!("start {name}: the guard printed {pid:?}"))?;
        Ok(Self { guard, pid, log })
    }

    fn is_alive(&self) -> bool {
        // The guard has not waited for it yet, so a server that ended is a zombie: state Z, after the name in brackets.
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // The guard reaps its child before it ends, so the port is free after this.
        let _ = self.guard.wait();
    }
}

/// Writes the certificate of the API server, the key pair of its service accounts and the administrator's token, and
/// returns the certificate authority as PEM.
fn write_credentials(folder: &Path) -> Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test API server authority");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?.signed_by(&key, &ca)?;
    std::fs::write(folder.join("server.crt"), certificate.pem())?;
    std::fs::write(folder.join("server.key"), key.serialize_pem())?;

    let accounts = KeyPair::generate()?;
    std::fs::write(folder.join("accounts.key"), accounts.serialize_pem())?;
    std::fs::write(folder.join("accounts.pub"), accounts.public_key_pem())?;
    std::fs::write(folder.join("tokens.csv"), "admin-token,admin,admin,system:masters\n")?;
    Ok(ca.pem())
}

fn kubeconfig_text(port: u16, ca: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: test\n\
         contexts: [{{name: test, context: {{cluster: test, user: admin, namespace: default}}}}]\n\
         clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority-data: {ca}}}}}]\n\
         users: [{{name: admin, user: {{token: admin-token}}}}]\n"
    )
}
