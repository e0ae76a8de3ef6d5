//! The real cluster that `cargo xtask test` brings up, as a person at a terminal sees it: kubectl and files.
//!
//! Tests run inside the cluster's network namespace, so that Services, pods and the cluster's DNS are reachable, with
//! `KUBECONFIG` and `ATSIGN_CLUSTER_BIN` set.

pub mod certificates;
pub mod gateway;
pub mod house;
pub mod memory;
pub mod release;
pub mod sdk;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::client::Client;

/// Where the operator lives.
pub const OPERATOR_NAMESPACE: &str = "atsign-system";

/// The repository's root, for the examples that are applied as they are.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs kubectl with `input` on its standard input and returns what it printed.
pub fn kubectl_with(args: &[&str], input: &str) -> Result<String> {
    let kubectl = std::env::var_os("ATSIGN_CLUSTER_BIN")
        .map_or_else(|| "kubectl".into(), |d| PathBuf::from(d).join("kubectl"));
    let mut child = Command::new(&kubectl)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}: run this by `cargo xtask test`", kubectl.display()))?;
    child.stdin.take().context("kubectl's standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "kubectl {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs kubectl and returns what it printed.
pub fn kubectl(args: &[&str]) -> Result<String> {
    kubectl_with(args, "")
}

/// How long a node's proxy may take to send a Service's connections to a pod that is ready.
const PROXY_LAG: Duration = Duration::from_secs(10);

/// Asks until the answer is there or the time is up; the last refusal is the error.
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() >= within => {
                return Err(error.context(format!("{what}: not within {within:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A namespace of one test's own; it is removed when the test ends, with all that is in it.
pub struct Namespace {
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes the namespace under the restricted Pod Security Standard: what the operator makes must fit in there.
    pub fn new(name: &str) -> Result<Self> {
        // A run that was killed may have left it behind.
        let _ = kubectl(&["delete", "namespace", name, "--ignore-not-found", "--timeout=120s"]);
        kubectl(&["create", "namespace", name])?;
        kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"])?;
        Ok(Self { name: name.to_owned() })
    }

    /// `kubectl -n <namespace> …`
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        kubectl(&[&["-n", self.name.as_str()], args].concat())
    }

    /// Applies a manifest given as text.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        kubectl_with(&["-n", &self.name, "apply", "-f", "-"], manifest)
    }

    /// Applies a file of the repository as it is.
    pub fn apply_file(&self, path: &str) -> Result<String> {
        let path = repository().join(path);
        self.kubectl(&["apply", "-f", path.to_str().context("a path in UTF-8")?])
    }

    /// One object as JSON.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])?)?)
    }

    /// The items of a list as JSON.
    pub fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", kind, "-l", selector, "-o", "json"])?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a condition of an AtSign has this status, and returns the AtSign.
    pub fn wait_for(&self, at_sign: &str, condition: &str, status: &str) -> Result<Value> {
        eventually(&format!("AtSign {at_sign} {condition}={status}"), Duration::from_mins(2), || {
            let object = self.get("atsign", at_sign)?;
            let found = condition_of(&object, condition).map(|c| c["status"].clone());
            if found.as_ref().and_then(Value::as_str) == Some(status) {
                return Ok(object);
            }
            bail!("conditions are {}", object["status"]["conditions"])
        })
    }

    /// The one running pod of an AtSign.
    pub fn pod(&self, at_sign: &str) -> Result<Value> {
        let selector = format!("app.kubernetes.io/instance={at_sign}");
        let mut pods = self.list("pods", &selector)?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        ensure!(pods.len() == 1, "{} pods of {at_sign}, expected one", pods.len());
        Ok(pods.remove(0))
    }

    /// Connects to an atSign's Service and logs in with the CRAM secret that the operator made.
    ///
    /// An atSign is ready by its pod; the node's proxy hears of that by itself, and refuses connections until then.
    pub fn log_in(&self, name: &str) -> Result<Client> {
        self.log_in_trusting(name, &operator_ca()?)
    }

    /// The same where somebody else signed the server's certificate: an authority, PEM.
    pub fn log_in_trusting(&self, name: &str, ca: &str) -> Result<Client> {
        let host = self.host(name);
        let client = eventually("a connection", PROXY_LAG, || Client::connect(&host, 6464, ca))?;
        self.owner(client, name)
    }

    /// Logs a connection in, however it came to the atSign.
    pub fn owner(&self, mut client: Client, name: &str) -> Result<Client> {
        client.cram(&format!("@{name}"), &self.secret(&format!("{name}-activation"), "cram")?)?;
        Ok(client)
    }

    /// The name of an atSign's Service, for who is in the cluster.
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}.svc.cluster.local", self.name)
    }

    /// A key of a Secret.
    pub fn secret(&self, name: &str, key: &str) -> Result<String> {
        use base64::Engine as _;
        let secret = self.get("secret", name)?;
        let encoded = secret["data"][key].as_str().with_context(|| format!("Secret {name} has no {key}"))?;
        Ok(String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded)?)?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // First the AtSigns, so that the next test may claim the same atSign at once.
        let _ = self.kubectl(&["delete", "atsigns", "--all", "--timeout=60s"]);
        let _ = kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// AtSignTiers that are removed when the test ends, so that they are no other test's default.
pub struct Tiers(pub &'static [&'static str]);

impl Drop for Tiers {
    fn drop(&mut self) {
        let _ = kubectl(&[&["delete", "atsigntier", "--ignore-not-found"], self.0].concat());
    }
}

/// A condition of an object by its type.
pub fn condition_of<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// The CA that the operator publishes, PEM.
pub fn operator_ca() -> Result<String> {
    let map: Value = serde_json::from_str(&kubectl(&[
        "-n",
        OPERATOR_NAMESPACE,
        "get",
        "configmap",
        "atsign-ca",
        "-o",
        "json",
    ])?)?;
    Ok(map["data"]["ca.crt"].as_str().context("ConfigMap atsign-ca has no ca.crt")?.to_owned())
}

/// The directory's host name inside the cluster.
pub fn directory_host() -> String {
    format!("atsign-directory.{OPERATOR_NAMESPACE}.svc.cluster.local")
}
