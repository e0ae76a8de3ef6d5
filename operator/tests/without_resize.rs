//! A cluster that cannot resize a running pod: a real API server that does what Kubernetes 1.32 did, which has no
//! `pods/resize`.

mod cluster;

use cluster::story::{MI, Story, condition};
use serde_json::{Value, json};

/// Of this binary every API server is an old one.
fn old_kubernetes() {
    cluster::server_with(&["--emulated-version=1.32"]);
}

fn memory_of(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
}

#[tokio::test]
async fn a_server_keeps_the_size_that_it_starts_with_and_the_status_tells_why() {
    old_kubernetes();
    let story = Story::begin(json!({}), &[]).await;
    story.node.needs("alice", 9 * MI);
    let blocked = story.until_condition("ResizeBlocked", "NotSupported").await;
    let message = blocked["message"].as_str().unwrap_or_default();
    assert!(message.contains("this cluster cannot resize a running pod"), "{message}");
    assert_eq!(story.until_event("NotSupported").await["type"], "Warning");
    let status = story.status().await;
    assert_eq!(
        (&status["memory"]["current"], &status["memory"]["recommended"]),
        (&json!("6Mi"), &json!("12Mi"))
    );
    story.world.until_at_rest().await;
    let deployment = story.world.get("Deployment", "alice").await.expect("alice's Deployment");
    assert_eq!((memory_of(&deployment), &deployment["metadata"]["generation"]), (&json!("6Mi"), &json!(1)));
    story.end().await;
}

#[tokio::test]
async fn where_the_tier_moves_servers_one_grows_by_a_rollout_and_never_shrinks_by_one() {
    old_kubernetes();
    let tier = json!({"memory": {"whenNodeFull": "Move"}});
    let story = Story::of_tier(tier, &["--memory-shrink-window=20"]).await;
    story.node.needs("alice", 9 * MI);
    let status = story.until_size("12Mi").await;
    story.until("told", |status| status["memory"]["placement"] == "OnPod").await;
    assert_eq!(condition(&status, "MemoryCapReached"), &Value::Null);
    // The new server needs little, and a window later less would be enough.
    let status = story.until("less", |status| status["memory"]["recommended"] == "6Mi").await;
    assert_eq!(status["memory"]["current"], "12Mi");
    story.world.until_at_rest().await;
    let deployment = story.world.get("Deployment", "alice").await.expect("alice's Deployment");
    assert_eq!((memory_of(&deployment), &deployment["metadata"]["generation"]), (&json!("12Mi"), &json!(2)));
    story.end().await;
}

#[tokio::test]
async fn where_no_node_has_room_the_template_goes_back() {
    old_kubernetes();
    let tier = json!({"memory": {"whenNodeFull": "Move"}});
    let flags = ["--memory-shrink-window=600", "--memory-unschedulable-after=5"];
    let story = Story::of_tier(tier, &flags).await;
    story.node.does(cluster::node::Does::GiveUpTo(6 * MI));
    story.node.needs("alice", 9 * MI);
    let sentence = "moved and returned to 6Mi: no node has room for 12Mi";
    story.until("back", |status| status["memory"]["lastResizeReason"] == sentence).await;
    let deployment = story.world.get("Deployment", "alice").await.expect("alice's Deployment");
    assert_eq!(memory_of(&deployment), &json!("6Mi"));
    story.end().await;
}
