//! Servers of other images: the same objects, no admin port, and memory by what metrics.k8s.io and the node say.

mod cluster;

use cluster::story::{MI, Story};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

const IMAGE: &str = "example.com/other/secondary:1";

/// A story of an AtSign with an image of its own, in a tier that allows it.
async fn story() -> Story {
    serve_metrics();
    let world = cluster::World::new().await;
    let name = world.namespace.clone();
    let tier = json!({"spec": {"allowCustomImage": true}});
    world.apply("AtSignTier", &name, tier).await;
    Story::unheard(world, json!({"tier": name, "image": IMAGE}), &[]).await
}

/// Where a cluster has metrics-server, this API server keeps what the test writes: read, it is the same.
fn serve_metrics() {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "pods.metrics.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"}},
        "spec": {"group": "metrics.k8s.io", "scope": "Namespaced",
            "names": {"kind": "PodMetrics", "plural": "pods", "singular": "pod"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]}});
    let server = cluster::server();
    server.kubectl_ok(&["apply", "--server-side", "-f", "-"], &definition.to_string()).expect("make the CRD");
    let wait = ["wait", "--for=condition=Established", "crd/pods.metrics.k8s.io", "--timeout=60s"];
    server.kubectl_ok(&wait, "").expect("the CRD is served");
}

/// From now on alice's container uses so much.
async fn uses(story: &Story, bytes: u64) {
    let pod = story.node.pod("alice").await.expect("a pod").metadata.name.expect("a name");
    let kind = kube::core::GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
    let resource = kube::core::ApiResource::from_gvk_with_plural(&kind, "pods");
    let api: Api<DynamicObject> =
        Api::namespaced_with(story.world.client.clone(), &story.world.namespace, &resource);
    let metrics = json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics", "metadata": {"name": pod},
        "containers": [{"name": "secondary", "usage": {"cpu": "2m", "memory": format!("{}Ki", bytes / 1024)}}]});
    api.patch(&pod, &PatchParams::apply("kubelet").force(), &Patch::Apply(metrics))
        .await
        .expect("PodMetrics");
}

#[tokio::test]
async fn another_image_gets_the_same_objects_and_probes_that_it_can_answer() {
    let story = story().await;
    let deployment = story.world.get("Deployment", "alice").await.expect("alice's Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], IMAGE);
    let ports: Vec<&Value> =
        container["ports"].as_array().into_iter().flatten().map(|port| &port["containerPort"]).collect();
    assert_eq!(ports, [6464], "no admin port");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["tcpSocket"]["port"], 6464, "{probe}");
        assert_eq!(container[probe]["httpGet"], Value::Null, "{probe}");
    }
    let arguments = ["--at_sign", "@alice", "--server_port", "6464", "--shared_secret", "$(CRAM_SECRET)"];
    assert_eq!(container["args"], json!(arguments), "what the reference server understands");
    let mounts = container["volumeMounts"].as_array().map(Vec::len);
    assert_eq!(mounts, Some(5), "the volumes of every server");
    for kind in ["Service", "NetworkPolicy", "PersistentVolumeClaim"] {
        assert!(story.world.get(kind, "alice").await.is_some(), "{kind}");
    }
    story.world.until("alice", "True", "ServerReady").await;
    story.world.until_at_rest().await;
    assert_eq!(story.requests(), 0, "nobody asks at the admin port");
    story.end().await;
}

#[tokio::test]
async fn another_images_memory_follows_what_it_uses() {
    let story = story().await;
    uses(&story, 9 * MI).await;
    let status = story.until_size("12Mi").await;
    assert_eq!(status["memory"]["lastResizeReason"], "from 6Mi to 12Mi: the server needs 9.0Mi");
    story.until("what it uses is told", |status| status["memory"]["used"] == "9Mi").await;
    uses(&story, 2 * MI).await;
    story.until_size("6Mi").await;
    assert_eq!(story.requests(), 0, "nobody asks at the admin port, not even before a decrease");
    story.end().await;
}

#[tokio::test]
async fn another_image_that_was_killed_for_want_of_memory_gets_the_next_step() {
    let story = story().await;
    story.node.kill("alice").await;
    let status = story.until_size("8Mi").await;
    assert_eq!(
        status["memory"]["lastResizeReason"],
        "from 6Mi to 8Mi: the server was killed for want of memory"
    );
    story.end().await;
}
