//! Memory that follows need, against a real API server: a played node and played servers, everything else is real.

mod cluster;

use std::time::Duration;

use cluster::World;
use cluster::faults::Faults;
use cluster::node::Does;
use cluster::server::Server;
use cluster::story::{HASTY, MI, Story, condition};
use serde_json::{Value, json};

#[tokio::test]
async fn a_server_that_needs_more_gets_the_step_that_fits_and_gives_it_back() {
    let story = Story::begin(json!({}), &[]).await;
    story.node.needs("alice", 9 * MI);
    let status = story.until_size("12Mi").await;
    assert_eq!(story.node.asked(), ["12Mi"], "straight to the step that fits");
    assert_eq!(status["memory"]["recommended"], "12Mi");
    assert_eq!(status["memory"]["placement"], "OnPod");
    assert_eq!(status["memory"]["lastResizeReason"], "from 6Mi to 12Mi: the server needs 9.0Mi");
    assert_eq!(
        story.until_event("MemoryGrown").await["note"],
        "memory from 6Mi to 12Mi: the server needs 9.0Mi"
    );
    let template = story.world.get("Deployment", "alice").await.expect("alice")["spec"]["template"].clone();
    assert_eq!(template["spec"]["containers"][0]["resources"]["limits"]["memory"], "6Mi", "no rollout");

    story.node.needs("alice", 2 * MI);
    story.until_size("6Mi").await;
    let shrinks = story.node.server("alice", Server::shrinks).expect("a server");
    let secret = story.world.get("Secret", "alice-admin").await.expect("the Secret");
    let token: k8s_openapi::ByteString =
        serde_json::from_value(secret["data"]["token"].clone()).expect("a token");
    assert_eq!(shrinks, [(6 * MI, String::from_utf8(token.0).expect("text"))], "the server was asked first");
    story.until_event("MemoryShrunk").await;
    story.end().await;
}

#[tokio::test]
async fn that_the_owner_has_logged_in_is_heard_and_not_asked_for() {
    // Nobody looks by himself for as long as this test may take.
    let story = Story::begin(json!({}), &["--memory-shrink-window=3600", "--memory-wait=600"]).await;
    story.until("nobody has logged in", |status| status["activated"] == false).await;
    // The passes that follow its start are over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    story.node.server("alice", Server::is_activated).expect("a server");
    story.until("the owner has logged in", |status| status["activated"] == true).await;
    story.end().await;
}

#[tokio::test]
async fn at_the_cap_the_status_says_so_and_nobody_spins() {
    let story = Story::begin(json!({"memory": {"cap": "8Mi"}}), &[]).await;
    story.node.needs("alice", 20 * MI);
    story.until_size("8Mi").await;
    let cap = story.until_condition("MemoryCapReached", "NeedAboveCap").await;
    assert!(cap["message"].as_str().is_some_and(|text| text.contains("32Mi")), "{cap}");
    story.until_condition("MemoryPressure", "CapReached").await;
    assert_eq!(story.until_event("MemoryCapReached").await["type"], "Warning");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (writes, requests) = (story.operator.faults.writes(), story.requests());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(story.operator.faults.writes(), writes, "{:#?}", story.operator.faults.log());
    assert!(story.requests() - requests <= 6, "at most once a second");
    story.end().await;
}

#[tokio::test]
async fn a_cap_that_is_raised_or_lowered_is_followed_by_servers_that_run() {
    let world = World::new().await;
    let tier = format!("sold-{}", world.namespace);
    let sells = |cap: &str| json!({"spec": {"memory": {"default": "6Mi", "cap": cap}}});
    world.apply("AtSignTier", &tier, sells("8Mi")).await;
    let (node, operator) = (world.node(), world.operator_as(Faults::default(), &HASTY).await);
    world.apply("AtSign", "alice", json!({"spec": {"tier": tier}})).await;
    let story = Story { world, node, operator };
    story.until("alice runs", |status| status["memory"]["used"].is_string()).await;
    story.node.needs("alice", 10 * MI);
    story.until_condition("MemoryCapReached", "NeedAboveCap").await;

    story.world.apply("AtSignTier", &tier, sells("24Mi")).await;
    let status = story.until_size("16Mi").await;
    assert_eq!(condition(&status, "MemoryCapReached"), &Value::Null);

    story.node.needs("alice", 7 * MI);
    story.world.apply("AtSignTier", &tier, sells("12Mi")).await;
    story.until_size("12Mi").await;
    story.end().await;
}

#[tokio::test]
async fn a_full_node_gives_the_largest_step_that_fits_and_the_status_tells() {
    let story = Story::begin(json!({}), &[]).await;
    story.node.does(Does::GiveUpTo(8 * MI));
    story.node.needs("alice", 12 * MI);
    let blocked = story.until_condition("ResizeBlocked", "NodeFull").await;
    assert!(blocked["message"].as_str().is_some_and(|text| text.contains("no room")), "{blocked}");
    let status = story.until_size("8Mi").await;
    assert_eq!(status["memory"]["placement"], "Blocked");
    assert_eq!(story.node.asked(), ["16Mi", "12Mi", "8Mi"]);
    assert_eq!(story.until_event("NodeFull").await["type"], "Warning");
    story.end().await;
}

#[tokio::test]
async fn what_a_node_can_never_give_is_not_asked_for_again() {
    let story = Story::begin(json!({}), &["--memory-retry-after=1"]).await;
    story.node.does(Does::NeverMoreThan(6 * MI));
    story.node.needs("alice", 6 * MI);
    story.until_condition("ResizeBlocked", "Infeasible").await;
    let pod = async || story.node.pod("alice").await.expect("a pod").spec.expect("a spec");
    let requested = async || {
        pod().await.containers[0].resources.clone().expect("resources").limits.expect("limits")["memory"]
            .0
            .clone()
    };
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while requested().await != "6Mi" {
        assert!(tokio::time::Instant::now() < deadline, "the request is taken back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(story.node.asked(), ["8Mi"]);
    story.end().await;
}

#[tokio::test]
async fn a_decrease_that_fails_is_taken_back() {
    let story = Story::begin(json!({}), &[]).await;
    story.node.needs("alice", 9 * MI);
    story.until_size("12Mi").await;
    story.node.does(Does::FailToShrink);
    story.node.needs("alice", 2 * MI);
    story.until_condition("ResizeBlocked", "KubeletError").await;
    story.until("taken back", |_| story.node.asked().last().is_some_and(|size| size == "6Mi")).await;
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let pod = serde_json::to_value(story.node.pod("alice").await).expect("JSON");
        if pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "12Mi" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{pod:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    story.end().await;
}

#[tokio::test]
async fn a_quota_without_room_is_named() {
    let story = Story::begin(json!({}), &[]).await;
    let quota = json!({"spec": {"limits": [{"type": "Container", "max": {"memory": "8Mi"}}]}});
    story.world.apply("LimitRange", "small", quota).await;
    // The admission plugin reads limits through a cache.
    tokio::time::sleep(Duration::from_secs(2)).await;
    story.node.needs("alice", 10 * MI);
    let blocked = story.until_condition("ResizeBlocked", "QuotaExceeded").await;
    let message = blocked["message"].as_str().unwrap_or_default();
    assert!(message.contains("maximum memory usage per Container is 8Mi"), "{blocked}");
    story.until_size("8Mi").await;
    story.end().await;
}

#[tokio::test]
async fn a_kubelet_that_says_nothing_is_told_of() {
    let story = Story::begin(json!({}), &[]).await;
    story.node.does(Does::Nothing);
    story.node.needs("alice", 6 * MI);
    let blocked = story.until_condition("ResizeBlocked", "KubeletSilent").await;
    assert!(blocked["message"].as_str().is_some_and(|text| text.contains("look at node node")), "{blocked}");
    story.node.does(Does::Give);
    let status = story.until_size("8Mi").await;
    assert_eq!(condition(&status, "ResizeBlocked"), &Value::Null);
    story.end().await;
}

#[tokio::test]
async fn a_server_that_was_killed_for_want_of_memory_gets_the_next_step() {
    let story = Story::begin(json!({}), &[]).await;
    story.node.kill("alice").await;
    let status = story.until_size("8Mi").await;
    assert_eq!(
        status["memory"]["lastResizeReason"],
        "from 6Mi to 8Mi: the server was killed for want of memory"
    );
    story.end().await;
}

#[tokio::test]
async fn a_pod_that_comes_back_has_its_size_at_once() {
    let story = Story::begin(json!({}), &["--memory-shrink-window=600"]).await;
    story.node.needs("alice", 9 * MI);
    story.until_size("12Mi").await;
    story.node.delete("alice").await;
    story.until("without a pod, or with the next", |status| status["memory"]["current"] != "12Mi").await;
    let status = story.until_size("12Mi").await;
    assert_eq!(status["memory"]["lastResizeReason"], "from 6Mi to 12Mi: that is what it needed before");
    assert_eq!(story.node.server("alice", Server::shrinks), Some(Vec::new()));
    story.end().await;
}

#[tokio::test]
async fn a_new_operator_leaves_a_grown_server_as_it_is() {
    let story = Story::begin(json!({}), &["--memory-shrink-window=600"]).await;
    story.node.needs("alice", 9 * MI);
    story.until_size("12Mi").await;
    story.world.until_at_rest().await;
    story.operator.stop().await;
    let second = story.world.operator_as(Faults::default(), &HASTY[..4]).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(second.faults.log(), Vec::<String>::new());
    assert_eq!(story.node.asked(), ["12Mi"]);
    second.stop().await;
}
