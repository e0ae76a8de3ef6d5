//! A real API server, an operator in this process, and the parts of Kubernetes that no API server has: what the
//! provisioner, the volume binder, the kubelet and the garbage collector do is played here, as far as it is seen.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

pub mod faults;
pub mod node;
pub mod played;
pub mod server;
pub mod story;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atsign_crds::AtSign;
use atsign_operator::metrics::Metrics;
use atsign_operator::options::Options;
use atsign_operator::{controller, trust};
use atsign_tests::apiserver::ApiServer;
use clap::Parser as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use faults::Faults;
use node::Node;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

static SERVER: OnceLock<ApiServer> = OnceLock::new();
static WORLDS: AtomicUsize = AtomicUsize::new(0);

/// The API server of this test binary.
pub fn server() -> &'static ApiServer {
    server_with(&[])
}

/// The same, with these flags if it is the first time that a test of this binary asks for it.
pub fn server_with(flags: &[&str]) -> &'static ApiServer {
    SERVER.get_or_init(|| {
        let server = ApiServer::start_with(flags).expect("start etcd and kube-apiserver");
        server.install_crds().expect("install the CRDs");
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.com/played",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        server.kubectl_ok(&["apply", "-f", "-"], &class.to_string()).expect("make a StorageClass");
        server
    })
}

/// Two namespaces of one test, tenants' and operator's, so that tests do not see each other.
pub struct World {
    /// An administrator's client.
    pub client: Client,
    /// Where AtSigns are.
    pub namespace: String,
    /// Where the operator is.
    pub system: String,
    played: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.played.abort();
    }
}

/// A node that ends with the test.
pub struct Pods {
    node: Node,
    running: JoinHandle<()>,
}

impl std::ops::Deref for Pods {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// An operator that runs in this process.
pub struct Operator {
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What it wrote, and how it is disturbed.
    pub faults: Faults,
}

impl Operator {
    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .expect("the operator ends")
            .expect("without a panic");
    }

    /// Ends it as SIGKILL does.
    pub fn kill(self) {
        self.running.abort();
    }
}

pub async fn config() -> Config {
    let kubeconfig = Kubeconfig::read_from(&server().kubeconfig).expect("read the kubeconfig");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("a client configuration")
}

impl World {
    pub async fn new() -> Self {
        let client = Client::try_from(config().await).expect("a client");
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let (namespace, system) = (format!("home-{number}"), format!("system-{number}"));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in [&namespace, &system] {
            let wanted = json!({"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
            let wanted = serde_json::from_value(wanted).expect("a namespace");
            namespaces.create(&PostParams::default(), &wanted).await.expect("make a namespace");
        }
        let played = tokio::spawn(played::controllers(client.clone(), namespace.clone(), system.clone()));
        Self { client, namespace, system, played }
    }

    /// Starts an operator that sees these namespaces only.
    pub async fn operator(&self) -> Operator {
        self.operator_with(Faults::default()).await
    }

    pub async fn operator_with(&self, faults: Faults) -> Operator {
        self.operator_as(faults, &[]).await
    }

    /// The same with more flags.
    pub async fn operator_as(&self, faults: Faults, flags: &[&str]) -> Operator {
        let always = ["atsign-operator", "--namespace", &self.system, "--watch-namespace", &self.namespace];
        // No Service has pods behind it here: the tests of the real cluster connect.
        let always = [always.as_slice(), &["--trust-readiness"]].concat();
        let options =
            Options::parse_from([always.as_slice(), ["--resync", "3600"].as_slice(), flags].concat());
        let metrics = Arc::new(Metrics::default());
        let client =
            ClientBuilder::try_from(config().await).expect("a client").with_layer(&faults.clone()).build();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn({
            let metrics = metrics.clone();
            async move {
                let now = jiff::Timestamp::now();
                // Whoever cannot keep the authority ends, as the process does.
                let kept = trust::keep(&client, &options, now).await;
                if let Ok(authority) = kept {
                    let stopped = async {
                        let _ = stopped.await;
                    };
                    controller::run(client, options, metrics, authority, stopped).await;
                }
            }
        });
        Operator { stop, running, metrics, faults }
    }

    /// Applies a manifest in the tenants' namespace, as a person does.
    pub async fn apply(&self, kind: &str, name: &str, body: Value) -> DynamicObject {
        self.try_apply(kind, name, body).await.expect("the API server takes the manifest")
    }

    pub async fn try_apply(&self, kind: &str, name: &str, mut body: Value) -> kube::Result<DynamicObject> {
        let resource = resource(kind);
        body["apiVersion"] = json!(resource.api_version);
        body["kind"] = json!(kind);
        body["metadata"]["name"] = json!(name);
        let params = PatchParams::apply("person").force();
        self.api(kind).patch(name, &params, &Patch::Apply(body)).await
    }

    /// The objects of a kind, in the tenants' namespace where they have one.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        match kind {
            "PersistentVolume" | "AtSignTier" | "StorageClass" | "CustomResourceDefinition" => {
                Api::all_with(self.client.clone(), &resource(kind))
            }
            _ => Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind)),
        }
    }

    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let object = self.api(kind).get_opt(name).await.expect("read an object")?;
        Some(serde_json::to_value(object).expect("JSON"))
    }

    /// Waits until the AtSign's Ready condition has this status and reason; returns the AtSign.
    pub async fn until(&self, name: &str, status: &str, reason: &str) -> AtSign {
        let api: Api<AtSign> = Api::namespaced(self.client.clone(), &self.namespace);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let at_sign = api.get_opt(name).await.expect("read the AtSign");
            if let Some(at_sign) = &at_sign
                && let Some(said) = &at_sign.status
                && said.observed_generation == at_sign.metadata.generation
                && said
                    .conditions
                    .iter()
                    .any(|c| c.type_ == "Ready" && c.status == status && c.reason == reason)
            {
                return at_sign.clone();
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{name} is not {status}/{reason} but {:#?}",
                at_sign.and_then(|at_sign| at_sign.status)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an object is gone.
    pub async fn until_gone(&self, kind: &str, name: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while let Some(object) = self.get(kind, name).await {
            assert!(tokio::time::Instant::now() < deadline, "{kind} {name} is still there: {object:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until no claim of this world has a volume any more.
    pub async fn until_no_volumes(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let volumes = self.volumes().await;
            if volumes.is_empty() {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "still there: {volumes:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a claim has its volume.
    pub async fn until_bound(&self, claim: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let live = self.get("PersistentVolumeClaim", claim).await.unwrap_or_default();
            if live["status"]["phase"] == "Bound" {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "claim {claim} is not bound: {live:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until nothing has changed for a second.
    pub async fn until_at_rest(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut before = (self.versions().await, self.volumes().await);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = (self.versions().await, self.volumes().await);
            if now == before {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "no rest: {before:#?} {now:#?}");
            before = now;
        }
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &kube::api::DeleteParams::default()).await.expect("delete");
    }

    /// What stands in both namespaces and among the volumes of this world, by kind and name, without what differs from
    /// run to run: UIDs, times, secrets, certificates.
    pub async fn snapshot(&self) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        for kind in KINDS {
            for namespace in [&self.namespace, &self.system] {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), namespace, &resource(kind));
                for object in api.list(&kube::api::ListParams::default()).await.expect("list") {
                    let mut name = object.metadata.name.clone().unwrap_or_default();
                    if name == "kube-root-ca.crt" || name == "default" {
                        continue;
                    }
                    if name.starts_with("atsign-export-") {
                        // Its end is a digest, among others of the namespace.
                        name.truncate("atsign-export".len());
                    }
                    let value = serde_json::to_value(object).expect("JSON");
                    found.push((format!("{kind} {name}"), self.comparable(&value)));
                }
            }
        }
        for volume in self.volumes().await {
            let policy = &volume["spec"]["persistentVolumeReclaimPolicy"];
            found.push((
                "PersistentVolume".to_owned(),
                json!({"policy": policy, "phase": volume["status"]["phase"]}),
            ));
        }
        found
    }

    /// Starts a node that runs this world's pods.
    pub fn node(&self) -> Pods {
        let (node, running) = Node::start(self.client.clone(), self.namespace.clone());
        Pods { node, running }
    }

    /// From now on no other controller does anything.
    pub fn stop_playing(&self) {
        self.played.abort();
    }

    /// The Jobs in the operator's namespace.
    pub async fn jobs(&self) -> Vec<Value> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.system, &resource("Job"));
        let jobs = api.list(&kube::api::ListParams::default()).await.expect("list").items.into_iter();
        jobs.map(|job| serde_json::to_value(job).expect("JSON")).collect()
    }

    /// The volumes that were made for claims of this world.
    pub async fn volumes(&self) -> Vec<Value> {
        let api = self.api("PersistentVolume");
        let all = api.list(&kube::api::ListParams::default()).await.expect("list").items.into_iter();
        all.map(|volume| serde_json::to_value(volume).expect("JSON"))
            .filter(|volume| {
                let namespace = &volume["spec"]["claimRef"]["namespace"];
                namespace == self.namespace.as_str() || namespace == self.system.as_str()
            })
            .collect()
    }

    fn comparable(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        for (name, placeholder) in [(&self.namespace, "HOME"), (&self.system, "SYSTEM")] {
            text = text.replace(name.as_str(), placeholder);
        }
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        let labels = value["metadata"]["labels"].take();
        let owners = value["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
        let finalizers = value["metadata"]["finalizers"].take();
        let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        let data = keys(&value["data"]);
        value["spec"]["volumeName"].take();
        value["spec"]["clusterIP"].take();
        value["spec"]["clusterIPs"].take();
        json!({"labels": labels, "owners": owners, "finalizers": finalizers, "data": data, "spec": value["spec"]})
    }

    /// The version of every object that the operator made, and of the AtSigns.
    pub async fn versions(&self) -> Vec<(String, String)> {
        let mut versions = Vec::new();
        for kind in KINDS {
            for namespace in [&self.namespace, &self.system] {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.client.clone(), namespace, &resource(kind));
                for object in api.list(&kube::api::ListParams::default()).await.expect("list") {
                    let name = object.metadata.name.clone().unwrap_or_default();
                    versions.push((
                        format!("{kind} {name}"),
                        object.metadata.resource_version.unwrap_or_default(),
                    ));
                }
            }
        }
        versions
    }
}

/// Every kind that the operator writes in a namespace.
pub const KINDS: [&str; 9] = [
    "AtSign",
    "ConfigMap",
    "Deployment",
    "Event",
    "Job",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Secret",
    "Service",
];

pub fn resource(kind: &str) -> ApiResource {
    let (group, version, plural) = match kind {
        "AtSign" => ("atsign.dev", "v1", "atsigns"),
        "AtSignTier" => ("atsign.dev", "v1", "atsigntiers"),
        "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        "Deployment" => ("apps", "v1", "deployments"),
        "Certificate" => ("cert-manager.io", "v1", "certificates"),
        "CertificateRequest" => ("cert-manager.io", "v1", "certificaterequests"),
        "Gateway" => ("gateway.networking.k8s.io", "v1", "gateways"),
        "TLSRoute" => ("gateway.networking.k8s.io", "v1", "tlsroutes"),
        "Job" => ("batch", "v1", "jobs"),
        "NetworkPolicy" => ("networking.k8s.io", "v1", "networkpolicies"),
        "Event" => ("events.k8s.io", "v1", "events"),
        "ConfigMap" => ("", "v1", "configmaps"),
        "StorageClass" => ("storage.k8s.io", "v1", "storageclasses"),
        "PersistentVolume" => ("", "v1", "persistentvolumes"),
        "PersistentVolumeClaim" => ("", "v1", "persistentvolumeclaims"),
        "LimitRange" => ("", "v1", "limitranges"),
        "Pod" => ("", "v1", "pods"),
        "Secret" => ("", "v1", "secrets"),
        "Service" => ("", "v1", "services"),
        _ => panic!("no such kind in these tests: {kind}"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
