//! The operator stopped at each step of a resize: one that starts afterwards brings the same end, and asks for no size
//! twice.

mod cluster;

use std::time::Duration;

use cluster::faults::{Faults, Stop};
use cluster::{Pods, World};
use futures::StreamExt as _;
use serde_json::Value;
use serde_json::json;

const MI: u64 = 1 << 20;
const FLAGS: [&str; 4] = [
    "--memory-grow-cool-down=1",
    "--memory-shrink-window=6",
    "--memory-shrink-cool-down=1",
    "--memory-wait=1",
];

/// What is told while the operator is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Grow,
    Shrink,
    GrowAndLoseThePod,
}

impl Story {
    fn end(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Grow | Self::GrowAndLoseThePod => ("12Mi", &["12Mi"]),
            Self::Shrink => ("6Mi", &["12Mi", "6Mi"]),
        }
    }

    async fn begin(self) -> (World, Pods) {
        let world = World::new().await;
        let node = world.node();
        let operator = world.operator_as(Faults::default(), &FLAGS).await;
        world.apply("AtSign", "alice", json!({"spec": {}})).await;
        until(&world, |memory| memory["used"].is_string()).await;
        if self == Self::Shrink {
            node.needs("alice", 9 * MI);
            until(&world, |memory| memory["current"] == "12Mi" && memory["placement"] == "OnPod").await;
        }
        world.until_at_rest().await;
        operator.stop().await;
        node.needs("alice", if self == Self::Shrink { 2 * MI } else { 9 * MI });
        (world, node)
    }

    async fn until_its_end(self, world: &World) {
        let (size, _) = self.end();
        until(world, |memory| memory["current"] == size && memory["recommended"] == size).await;
        world.until_at_rest().await;
    }

    /// How many writes it takes where nothing disturbs it.
    async fn writes(self) -> usize {
        let (world, _node) = self.begin().await;
        let operator = world.operator_as(Faults::default(), &FLAGS).await;
        self.until_its_end(&world).await;
        let writes = operator.faults.writes();
        operator.stop().await;
        writes
    }

    async fn disturbed(self, stop: Stop) {
        let (world, node) = self.begin().await;
        let operator = world.operator_as(Faults::at(stop), &FLAGS).await;
        tokio::select! {
            () = operator.faults.struck() => {}
            () = self.until_its_end(&world) => {}
        }
        operator.kill();
        if self == Self::GrowAndLoseThePod {
            node.delete("alice").await;
            node.started("alice").await;
            node.needs("alice", 9 * MI);
        }
        let second = world.operator_as(Faults::default(), &FLAGS).await;
        self.until_its_end(&world).await;
        let alice = world.get("AtSign", "alice").await.expect("alice");
        assert_eq!(alice["status"]["memory"]["placement"], "OnPod", "{self:?}, stopped {stop:?}");
        let conditions = alice["status"]["conditions"].to_string();
        assert!(!conditions.contains("ResizeBlocked"), "{self:?}, stopped {stop:?}: {conditions}");
        if self != Self::GrowAndLoseThePod {
            assert_eq!(node.asked(), self.end().1, "{self:?}, stopped {stop:?}");
        }
        second.stop().await;
    }
}

async fn until(world: &World, wanted: impl Fn(&Value) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(3);
    loop {
        let alice = world.get("AtSign", "alice").await.unwrap_or_default();
        if wanted(&alice["status"]["memory"]) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{:#}", alice["status"]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stopped_anywhere_ends_the_same(story: Story) {
    let writes = story.writes().await;
    assert!(writes >= 2, "a resize and a status at least, not {writes}");
    let stops = (0..writes).flat_map(|k| [Stop::Before(k), Stop::After(k)]);
    let runs = stops.map(|stop| story.disturbed(stop));
    futures::stream::iter(runs).buffer_unordered(8).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn stopped_anywhere_while_a_server_grows() {
    stopped_anywhere_ends_the_same(Story::Grow).await;
}

#[tokio::test]
async fn stopped_anywhere_while_a_server_shrinks() {
    stopped_anywhere_ends_the_same(Story::Shrink).await;
}

#[tokio::test]
async fn stopped_anywhere_while_a_server_grows_and_its_pod_is_deleted() {
    stopped_anywhere_ends_the_same(Story::GrowAndLoseThePod).await;
}
