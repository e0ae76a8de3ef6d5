//! What becomes of a server whose node has no room for it to grow, where its tier says that it is to move: played nodes,
//! everything else is real.

mod cluster;

use std::time::Duration;

use cluster::World;
use cluster::faults::Faults;
use cluster::node::Does;
use cluster::story::{HASTY, MI, Story, condition};
use serde_json::{Value, json};

/// Soon, and late enough for a busy scheduler to see that a pod became smaller.
const SOON_UNSCHEDULABLE: &str = "--memory-unschedulable-after=10";

/// A story whose tier lets its servers move.
async fn story_of_a_mover(flags: &[&str]) -> Story {
    let flags = [&["--memory-shrink-window=600"], flags].concat();
    Story::of_tier(json!({"memory": {"whenNodeFull": "Move"}}), &flags).await
}

async fn deployment(story: &Story) -> Value {
    story.world.get("Deployment", "alice").await.expect("alice's Deployment")
}

fn memory_of(template: &Value) -> &Value {
    &template["spec"]["containers"][0]["resources"]["limits"]["memory"]
}

#[tokio::test]
async fn a_server_that_its_node_cannot_grow_is_replaced_on_a_node_that_can() {
    let story = story_of_a_mover(&[]).await;
    story.node.does(Does::GiveUpTo(8 * MI));
    story.node.another("other", 64 * MI);
    let before = deployment(&story).await;
    story.node.needs("alice", 12 * MI);
    let status = story
        .until("moved", |status| {
            status["memory"]["current"] == "16Mi" && status["memory"]["used"].is_string()
        })
        .await;
    assert_eq!(story.node.asked(), ["16Mi", "12Mi", "8Mi"], "first the largest step that fits in place");
    let pod = serde_json::to_value(story.node.pod("alice").await).expect("JSON");
    assert_eq!((&pod["spec"]["nodeName"], memory_of(&pod)), (&json!("other"), &json!("16Mi")));
    assert_eq!(status["memory"]["placement"], "OnPod");
    assert_eq!(status["memory"]["lastResizeReason"], "from 8Mi to 16Mi: it was moved to where there is room");
    assert_eq!(condition(&status, "ResizeBlocked"), &Value::Null);
    assert_eq!(story.until_event("MemoryMoving").await["type"], "Normal");
    story.until_event("MemoryGrown").await;
    let metrics = story.operator.metrics.text();
    for outcome in ["begun", "arrived"] {
        let tier = &story.world.namespace;
        let line = format!("memory_moves_total{{tier=\"{tier}\",outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{line} is not in:\n{metrics}");
    }

    story.world.until_at_rest().await;
    let after = deployment(&story).await;
    assert_eq!(memory_of(&after["spec"]["template"]), "16Mi");
    let generation = |deployment: &Value| deployment["metadata"]["generation"].as_i64();
    assert_eq!(generation(&after), generation(&before).map(|before| before + 1), "one rollout");

    // A new operator finds nothing to do, and a person's own rollout begins with the default again.
    let Story { world, node, operator } = story;
    operator.stop().await;
    let operator = world.operator_as(Faults::default(), &HASTY).await;
    let restart = json!({"metadata": {"annotations": {"atsign.dev/restart": "now"}},
        "spec": {"tier": world.namespace}});
    world.apply("AtSign", "alice", restart).await;
    let story = Story { world, node, operator };
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while memory_of(&deployment(&story).await["spec"]["template"]) != "6Mi" {
        assert!(tokio::time::Instant::now() < deadline, "{:#}", deployment(&story).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(generation(&deployment(&story).await), generation(&after).map(|after| after + 1));
    story.end().await;
}

#[tokio::test]
async fn a_server_that_no_node_can_grow_starts_with_what_it_had_and_is_not_moved_again() {
    let story = story_of_a_mover(&[SOON_UNSCHEDULABLE, "--memory-retry-after=5"]).await;
    story.node.does(Does::GiveUpTo(8 * MI));
    story.node.needs("alice", 12 * MI);
    let blocked = story.until_condition("ResizeBlocked", "Unschedulable").await;
    let message = blocked["message"].as_str().unwrap_or_default();
    assert!(message.contains("no node has room for 16Mi: 0/1 nodes are available"), "{message}");
    let status = story
        .until("back", |status| {
            status["memory"]["lastResizeReason"] == "moved and returned to 8Mi: no node has room for 16Mi"
        })
        .await;
    assert_eq!(status["memory"]["current"], "8Mi");
    assert_eq!(story.until_event("MemoryMoveFailed").await["type"], "Warning");
    let metrics = story.operator.metrics.text();
    assert!(metrics.contains("outcome=\"returned\"} 1"), "{metrics}");
    let moved = deployment(&story).await;

    // In place it is tried again, and only there: had it been moved, the status that says NodeFull would say so.
    story.node.needs("alice", 12 * MI);
    story.until_condition("ResizeBlocked", "NodeFull").await;
    assert_eq!(story.status().await["memory"]["placement"], "Blocked");
    assert_eq!(story.node.asked(), ["16Mi", "12Mi", "8Mi", "12Mi"]);
    story.world.until_at_rest().await;
    let after = deployment(&story).await;
    assert_eq!(after["metadata"]["generation"], moved["metadata"]["generation"], "no second rollout");
    story.end().await;
}

#[tokio::test]
async fn a_pod_that_is_not_made_at_all_is_given_up_for_what_the_server_had() {
    let story = story_of_a_mover(&[SOON_UNSCHEDULABLE]).await;
    story.node.does(Does::GiveUpTo(8 * MI));
    story.node.another("other", 64 * MI);
    story.node.refuse_pods_above(Some(8 * MI));
    story.node.needs("alice", 12 * MI);
    story.until("moving", |status| status["memory"]["placement"] == "Moving").await;
    story
        .until_within(Duration::from_mins(4), "back", |status| {
            status["memory"]["lastResizeReason"] == "moved and returned to 8Mi: no node has room for 16Mi"
        })
        .await;
    assert_eq!(memory_of(&deployment(&story).await["spec"]["template"]), "8Mi");
    story.end().await;
}

#[tokio::test]
async fn one_server_at_a_time_leaves_a_node() {
    let story = story_of_a_mover(&[]).await;
    let tier = story.world.namespace.clone();
    story.world.apply("AtSign", "bob", json!({"spec": {"tier": tier}})).await;
    story.node.started("bob").await;
    story.node.does(Does::GiveUpTo(6 * MI));
    story.node.another("other", 64 * MI);
    story.node.hold(true);
    let placements = async |world: &World| {
        let of = async |name: &str| world.get("AtSign", name).await.unwrap_or_default()["status"].clone();
        [of("alice").await, of("bob").await]
    };
    for name in ["alice", "bob"] {
        story.node.needs(name, 12 * MI);
    }
    let moving = |status: &Value| status["memory"]["placement"] == "Moving";
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    // Held, so that the first is on its way when the other has waited for long enough.
    let both_want = |both: &[Value; 2]| {
        both.iter().any(moving)
            && both
                .iter()
                .any(|status| !moving(status) && condition(status, "ResizeBlocked")["reason"] == "NodeFull")
    };
    loop {
        let both = placements(&story.world).await;
        assert!(!both.iter().all(moving), "{both:#?}");
        if both_want(&both) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{both:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    story.node.hold(false);
    // Who runs elsewhere has left, whatever the status still says.
    let leaves = async |name: &str| {
        let status = story.world.get("AtSign", name).await.unwrap_or_default()["status"].clone();
        let pod = serde_json::to_value(story.node.pod(name).await).expect("JSON");
        let runs = pod["spec"]["nodeName"] == "other" && pod["status"]["phase"] == "Running";
        moving(&status) && !runs
    };
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    loop {
        // Asked twice, before and after the other: otherwise one may have arrived, and the other left, between two questions.
        if leaves("alice").await && leaves("bob").await {
            assert!(
                !leaves("alice").await,
                "both leave at the same time: {:#?}",
                placements(&story.world).await
            );
        }
        let both = placements(&story.world).await;
        if both.iter().all(|status| status["memory"]["current"] == "16Mi" && !moving(status)) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{both:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    story.end().await;
}
