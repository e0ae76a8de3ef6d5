//! The memory of servers in the real cluster: an operator in haste, the limit in the node's cgroups, a node without room.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Namespace, OPERATOR_NAMESPACE, eventually, kubectl, kubectl_with};

/// The cluster's real node.
pub const NODE: &str = "node1";

/// One mebibyte.
pub const MI: u64 = 1 << 20;

/// One test at a time has the operator.
static OPERATOR: Mutex<()> = Mutex::new(());

/// The operator with windows that a test can wait for; as it was when this is dropped.
pub struct Hasty {
    _alone: MutexGuard<'static, ()>,
}

impl Hasty {
    /// With these flags too.
    pub fn operator(more: &[&str]) -> Result<Self> {
        let alone = OPERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = [
            "--memory-grow-cool-down=3",
            "--memory-shrink-window=30",
            "--memory-shrink-cool-down=10",
            "--memory-wait=5",
        ];
        let append: Vec<Value> = flags
            .iter()
            .chain(more)
            .map(
                |flag| json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": flag}),
            )
            .collect();
        let how = ["--type=json", "-p", &json!(append).to_string()];
        kubectl(
            &[&["-n", OPERATOR_NAMESPACE, "patch", "deployment/atsign-operator"], how.as_slice()].concat(),
        )?;
        // From here on it is taken back.
        let hasty = Self { _alone: alone };
        rolled_out()?;
        Ok(hasty)
    }
}

impl Drop for Hasty {
    fn drop(&mut self) {
        let _ = kubectl(&["-n", OPERATOR_NAMESPACE, "rollout", "undo", "deployment/atsign-operator"]);
        let _ = rolled_out();
    }
}

fn rolled_out() -> Result<()> {
    let wait =
        ["-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment/atsign-operator", "--timeout=120s"];
    kubectl(&wait).map(drop)
}

/// The memory limit of a pod's server, where it counts: in the node's cgroups.
#[derive(Clone, Debug)]
pub struct Limit(PathBuf);

impl Limit {
    /// Of the container that runs in this pod.
    pub fn of(pod: &Value) -> Result<Self> {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
        let (_, id) = id.split_once("://").with_context(|| format!("nothing runs yet: {}", pod["status"]))?;
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let groups = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
            let mut files = paths.filter(|path| path.contains(id)).flat_map(|path| {
                [
                    PathBuf::from(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
                    PathBuf::from(format!("/sys/fs/cgroup{path}/memory.max")),
                ]
            });
            if let Some(file) = files.find(|file| file.exists()) {
                return Ok(Self(file));
            }
        }
        bail!("no process of container {id}")
    }

    /// What it is now.
    pub fn bytes(&self) -> Result<u64> {
        let text =
            std::fs::read_to_string(&self.0).with_context(|| format!("{} is gone", self.0.display()))?;
        Ok(text.trim().parse()?)
    }

    /// Waits until it is so much.
    pub fn until(&self, limit: u64, within: Duration, namespace: &Namespace) -> Result<()> {
        eventually(&format!("the cgroup's limit is {limit}"), within, || {
            let found = self.bytes()?;
            let status = "jsonpath={.items[*].status.memory} {.items[*].status.conditions}";
            ensure!(found == limit, "it is {found}; {}", namespace.kubectl(&["get", "ats", "-o", status])?);
            Ok(())
        })
    }
}

/// A pod that takes all the memory that the node has left, and uses none of it. The node has it back when this is dropped.
pub struct Filler(());

impl Filler {
    /// Fills the real node to the last byte.
    pub fn of_the_node() -> Result<Self> {
        let filler = Self(());
        let free = eventually("nothing comes or goes on the node", Duration::from_mins(2), free)?;
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "filler", "namespace": "default"},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": NODE},
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "filler",
                    "image": "docker.io/library/pause:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "resources": {"requests": {"memory": free.to_string()}},
                }],
            },
        });
        kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
        kubectl(&["-n", "default", "wait", "--for=condition=Ready", "pod/filler", "--timeout=60s"])?;
        Ok(filler)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = kubectl(&["-n", "default", "delete", "pod", "filler", "--ignore-not-found", "--timeout=60s"]);
    }
}

/// What no pod of the node has asked for, bytes.
fn free() -> Result<u64> {
    let node: Value = serde_json::from_str(&kubectl(&["get", "node", NODE, "-o", "json"])?)?;
    let on_it = format!("--field-selector=spec.nodeName={NODE}");
    let pods: Value = serde_json::from_str(&kubectl(&["get", "pods", "-A", &on_it, "-o", "json"])?)?;
    let mut free = bytes(&node["status"]["allocatable"]["memory"])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let stays = pod["metadata"]["deletionTimestamp"].is_null() && phase == "Running";
        ensure!(stays || phase == "Succeeded", "{} is {phase}", pod["metadata"]["name"]);
        for container in pod["spec"]["containers"].as_array().into_iter().flatten().filter(|_| stays) {
            let asked = &container["resources"]["requests"]["memory"];
            free -= if asked.is_null() { 0 } else { bytes(asked)? };
        }
    }
    Ok(free)
}

/// A quantity as the API server writes those of memory.
fn bytes(quantity: &Value) -> Result<u64> {
    let text = quantity.as_str().context("a quantity is a string")?;
    let units = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];
    let (digits, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)))
        .unwrap_or((text, 1));
    Ok(digits.parse::<u64>().with_context(|| format!("{text:?} is no quantity of memory"))? * unit)
}
