//! Nodes as the API server shows them: pods of Deployments, on loopback addresses, with a played server in each. What the
//! first does with a resize is the test's to say, and what the others have room for.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use atsign_crds::quantity;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::server::Server;

/// What a node does with a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It gives what is asked for.
    Give,
    /// It gives what is at most this many bytes, and puts off what is more.
    GiveUpTo(u64),
    /// It says that it can never give more than this many bytes.
    NeverMoreThan(u64),
    /// It tries decreases and fails.
    FailToShrink,
    /// It says nothing.
    Nothing,
}

/// The node that pods go to first.
const FIRST: &str = "node";
/// Annotation on a pod: the template that it was made from.
const MADE_FROM: &str = "test/template";

/// Addresses of this process's servers: no other test program runs at the same time in the same network by them.
static ADDRESSES: AtomicU32 = AtomicU32::new(0);

/// A node that has the pods of one namespace.
#[derive(Clone)]
pub struct Node {
    client: Client,
    namespace: String,
    state: Arc<Mutex<State>>,
}

struct State {
    does: Does,
    /// Other nodes, and the largest pod that each takes.
    others: Vec<(String, u64)>,
    /// Whether pods wait for a node.
    held: bool,
    /// The largest pod that a quota leaves room for.
    admitted: Option<u64>,
    /// By the name of the AtSign.
    servers: HashMap<String, Server>,
    pods: u32,
    /// Every size that was asked for, in order.
    asked: Vec<String>,
}

impl Node {
    /// Of the pods of this namespace; it runs until the handle is aborted.
    pub fn start(client: Client, namespace: String) -> (Self, JoinHandle<()>) {
        let state = State {
            does: Does::Give,
            others: Vec::new(),
            held: false,
            admitted: None,
            servers: HashMap::new(),
            pods: 0,
            asked: Vec::new(),
        };
        let node = Self { client, namespace, state: Arc::new(Mutex::new(state)) };
        let running = tokio::spawn({
            let node = node.clone();
            async move {
                loop {
                    let began = Instant::now();
                    // Whatever fails, an object went or changed meanwhile, is tried again next time.
                    let _ = node.make_pods().await;
                    let _ = node.place_pods().await;
                    let _ = node.keep_pods().await;
                    tokio::time::sleep(Duration::from_millis(50).max(began.elapsed() * 2)).await;
                }
            }
        });
        (node, running)
    }

    pub fn does(&self, does: Does) {
        self.state().does = does;
    }

    /// There is another node, that takes pods of at most so many bytes.
    pub fn another(&self, name: &str, most: u64) {
        self.state().others.push((name.to_owned(), most));
    }

    /// Whether pods wait from now on.
    pub fn hold(&self, held: bool) {
        self.state().held = held;
    }

    /// From now on no pod of more than so many bytes is made.
    pub fn refuse_pods_above(&self, bytes: Option<u64>) {
        self.state().admitted = bytes;
    }

    /// From now on the server of this AtSign needs so much.
    pub fn needs(&self, name: &str, bytes: u64) {
        self.state().servers[name].needs(bytes);
    }

    /// What a played server counted.
    pub fn server<T>(&self, name: &str, what: impl FnOnce(&Server) -> T) -> Option<T> {
        self.state().servers.get(name).map(what)
    }

    /// Every size that pods asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The server of this AtSign was killed for want of memory and starts again.
    pub async fn kill(&self, name: &str) {
        let pod = self.pod(name).await.expect("a pod");
        let mut status = serde_json::to_value(&pod.status).expect("JSON")["containerStatuses"][0].clone();
        status["lastState"] = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": now(), "startedAt": now()}});
        status["restartCount"] = json!(status["restartCount"].as_i64().unwrap_or_default() + 1);
        self.patch(&pod.name_any(), &json!({"containerStatuses": [status]})).await.expect("patch");
    }

    /// The pod of an AtSign.
    pub async fn pod(&self, name: &str) -> Option<Pod> {
        let selector = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
        let pods = self.pods().list(&selector).await.expect("list pods");
        pods.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none())
    }

    /// Returns once the pod of an AtSign runs.
    pub async fn started(&self, name: &str) {
        let runs = async || self.pod(name).await?.status?.container_statuses;
        while runs().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Deletes the pod of an AtSign; another takes its place.
    pub async fn delete(&self, name: &str) {
        let pod = self.pod(name).await.expect("a pod");
        self.pods().delete(&pod.name_any(), &DeleteParams::default()).await.expect("delete");
    }

    async fn patch(&self, name: &str, status: &Value) -> kube::Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        self.pods().patch_status(name, &PatchParams::default(), &patch).await.map(drop)
    }

    /// The Deployments' controller: one pod of each, and none of two templates.
    async fn make_pods(&self) -> kube::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = self.pods().list(&ListParams::default()).await?;
        for deployment in deployments.list(&ListParams::default()).await? {
            let name = deployment.name_any();
            let spec = deployment.spec.unwrap_or_default();
            let mut pod = serde_json::to_value(spec.template).expect("JSON");
            let template = atsign_operator::names::digest(pod.to_string().as_bytes());
            let there = pods.iter().find(|pod| pod.labels().get("app.kubernetes.io/instance") == Some(&name));
            if let Some(there) = there {
                let ends = there.metadata.deletion_timestamp.is_some();
                if !ends && there.annotations().get(MADE_FROM) != Some(&template) {
                    self.pods().delete(&there.name_any(), &DeleteParams::default()).await?;
                }
                continue;
            }
            let size = pod["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str();
            let size = size.and_then(quantity::bytes).expect("a memory limit");
            if spec.replicas == Some(0) || self.state().admitted.is_some_and(|most| size > most) {
                continue;
            }
            let number = {
                let mut state = self.state();
                state.pods += 1;
                state.pods
            };
            pod["metadata"]["name"] = json!(format!("{name}-{number}"));
            pod["metadata"]["annotations"][MADE_FROM] = json!(template);
            let pod = serde_json::from_value(pod).expect("a pod");
            self.pods().create(&PostParams::default(), &pod).await?;
        }
        Ok(())
    }

    /// The scheduler, and the kubelet that starts a pod.
    async fn place_pods(&self) -> kube::Result<()> {
        for pod in self.pods().list(&ListParams::default()).await? {
            let (name, status) = (pod.name_any(), pod.status.clone().unwrap_or_default());
            if pod.metadata.deletion_timestamp.is_some() || status.container_statuses.is_some() {
                continue;
            }
            if pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some() {
                self.run(&pod).await?;
            } else if let Some(node) = self.node_for(requested(&pod)) {
                let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
                let bound: kube::core::Status = self
                    .pods()
                    .create_subresource("binding", &name, &PostParams::default(), &binding)
                    .await?;
                assert_eq!(bound.code, 201, "{bound:?}");
            } else if status.conditions.is_none() {
                let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient memory.", "lastTransitionTime": now()});
                self.patch(&name, &json!({"conditions": [condition]})).await?;
            }
        }
        Ok(())
    }

    /// The node that takes a pod of so many bytes.
    fn node_for(&self, bytes: u64) -> Option<String> {
        let state = self.state();
        let most = match state.does {
            Does::GiveUpTo(most) | Does::NeverMoreThan(most) => most,
            _ => u64::MAX,
        };
        let first = (FIRST.to_owned(), most);
        let mut nodes = std::iter::once(&first).chain(&state.others);
        nodes.find(|(_, most)| bytes <= *most && !state.held).map(|(name, _)| name.clone())
    }

    async fn run(&self, pod: &Pod) -> kube::Result<()> {
        let part = ADDRESSES.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id() % 200;
        let [_, _, high, low] = part.to_be_bytes();
        let ip = Ipv4Addr::new(127, u8::try_from(process).expect("less than 200") + 50, high, low);
        let server = Server::start(ip, requested(pod)).await;
        let name = pod.labels()["app.kubernetes.io/instance"].clone();
        self.state().servers.insert(name, server);
        let running = json!({"name": "secondary", "image": "i", "imageID": "i", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": now()}}, "resources": resources(pod)});
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now()});
        let status = json!({"phase": "Running", "podIP": ip.to_string(), "podIPs": [{"ip": ip.to_string()}],
            "conditions": [ready], "containerStatuses": [running]});
        self.patch(&pod.name_any(), &status).await
    }

    /// The kubelet that resizes pods and ends them.
    async fn keep_pods(&self) -> kube::Result<()> {
        for pod in self.pods().list(&ListParams::default()).await? {
            let name = pod.name_any();
            if pod.metadata.deletion_timestamp.is_some() {
                let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                self.pods().delete(&name, &at_once).await?;
                continue;
            }
            self.resize(&pod).await?;
        }
        Ok(())
    }

    async fn resize(&self, pod: &Pod) -> kube::Result<()> {
        let status = serde_json::to_value(&pod.status).expect("JSON");
        let given = status["containerStatuses"][0]["resources"]["limits"]["memory"].as_str();
        let Some(given) = given.and_then(quantity::bytes) else { return Ok(()) };
        let wanted = requested(pod);
        let size = quantity::display(wanted);
        let says = |type_: &str, reason: &str| {
            json!({"type": type_, "status": "True", "reason": reason, "lastTransitionTime": now(),
                "observedGeneration": pod.metadata.generation,
                "message": "Node didn't have enough resource: memory, requested: 1, used: 2, capacity: 3"})
        };
        let first = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(FIRST);
        let does = if first { self.state().does } else { Does::Give };
        let condition = match does {
            Does::Nothing => return Ok(()),
            Does::GiveUpTo(most) if wanted > most => Some(says("PodResizePending", "Deferred")),
            Does::NeverMoreThan(most) if wanted > most => Some(says("PodResizePending", "Infeasible")),
            Does::FailToShrink if wanted < given => Some(says("PodResizeInProgress", "Error")),
            _ => None,
        };
        {
            let mut state = self.state();
            if wanted != given && state.asked.last() != Some(&size) {
                state.asked.push(size);
            }
        }
        let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|condition| {
            !condition["type"].as_str().is_some_and(|type_| type_.starts_with("PodResize"))
        });
        let before = status["conditions"].as_array().map_or(0, Vec::len);
        if let Some(condition) = condition {
            let known = status["conditions"].as_array().into_iter().flatten().any(|known| {
                ["type", "reason", "observedGeneration"].iter().all(|key| known[key] == condition[key])
            });
            if known {
                return Ok(());
            }
            conditions.push(condition);
            return self.patch(&pod.name_any(), &json!({"conditions": conditions})).await;
        }
        if wanted == given && conditions.len() == before {
            return Ok(());
        }
        let mut container = status["containerStatuses"][0].clone();
        container["resources"] = resources(pod);
        let status = json!({"conditions": conditions, "containerStatuses": [container]});
        self.patch(&pod.name_any(), &status).await?;
        let name = &pod.labels()["app.kubernetes.io/instance"];
        if let Some(server) = self.state().servers.get(name) {
            server.has(wanted);
        }
        Ok(())
    }
}

fn resources(pod: &Pod) -> Value {
    serde_json::to_value(pod).expect("JSON")["spec"]["containers"][0]["resources"].clone()
}

fn requested(pod: &Pod) -> u64 {
    resources(pod)["limits"]["memory"].as_str().and_then(quantity::bytes).expect("a memory limit")
}

fn now() -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).expect("a time").to_string()
}
