//! The operator stopped at each step of a resize: one that starts afterwards brings the same end, and asks for no size
//! twice.

mod cluster;

use std::time::Duration;

use atsign_tests::soak::pick;
use cluster::faults::{Faults, Stop};
use cluster::node::Does;
use cluster::{Pods, World};
use futures::StreamExt as _;
use serde_json::Value;
use serde_json::json;

const MI: u64 = 1 << 20;
const FLAGS: [&str; 5] = [
    "--memory-grow-cool-down=1",
    "--memory-shrink-cool-down=1",
    "--memory-wait=1",
    "--memory-deferred-after=1",
    // A busy scheduler needs some time to see that a pod became smaller.
    "--memory-unschedulable-after=10",
];

/// What is told while the operator is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Grow,
    Shrink,
    GrowAndLoseThePod,
    Move,
    MoveAndReturn,
}

impl Story {
    fn end(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Grow | Self::GrowAndLoseThePod => ("12Mi", &["12Mi"]),
            Self::Shrink => ("6Mi", &["12Mi", "6Mi"]),
            Self::Move => ("12Mi", &[]),
            Self::MoveAndReturn => ("8Mi", &[]),
        }
    }

    fn moves(self) -> bool {
        matches!(self, Self::Move | Self::MoveAndReturn)
    }

    /// Who moves has forgotten what it needed, and is to keep its size all the same.
    fn flags(self) -> Vec<&'static str> {
        let window = if self.moves() { "--memory-shrink-window=600" } else { "--memory-shrink-window=6" };
        [FLAGS.as_slice(), &[window]].concat()
    }

    async fn begin(self) -> (World, Pods) {
        let world = World::new().await;
        let node = world.node();
        let operator = world.operator_as(Faults::default(), &self.flags()).await;
        let tier = json!({"spec": {"memory": {"whenNodeFull": if self.moves() { "Move" } else { "Stay" }}}});
        world.apply("AtSignTier", &world.namespace, tier).await;
        world.apply("AtSign", "alice", json!({"spec": {"tier": world.namespace}})).await;
        until(&world, |memory| memory["used"].is_string()).await;
        if self == Self::Shrink {
            node.needs("alice", 9 * MI);
            until(&world, |memory| memory["current"] == "12Mi" && memory["placement"] == "OnPod").await;
        }
        world.until_at_rest().await;
        operator.stop().await;
        if self.moves() {
            node.does(Does::GiveUpTo(8 * MI));
        }
        if self == Self::Move {
            node.another("other", 64 * MI);
        }
        node.needs("alice", if self == Self::Shrink { 2 * MI } else { 9 * MI });
        (world, node)
    }

    async fn until_its_end(self, world: &World) {
        let (size, _) = self.end();
        let rests = |memory: &Value| match self {
            Self::Move => memory["placement"] == "OnPod",
            Self::MoveAndReturn => {
                memory["lastResizeReason"].as_str().is_some_and(|it| it.contains("returned"))
            }
            _ => memory["recommended"] == size,
        };
        until(world, |memory| memory["current"] == size && rests(memory)).await;
        world.until_at_rest().await;
    }

    /// How many writes it takes where nothing disturbs it.
    async fn writes(self) -> usize {
        let (world, _node) = self.begin().await;
        let operator = world.operator_as(Faults::default(), &self.flags()).await;
        self.until_its_end(&world).await;
        let writes = operator.faults.writes();
        operator.stop().await;
        writes
    }

    async fn disturbed(self, stop: Stop) {
        let (world, node) = self.begin().await;
        let generation = async || {
            world.get("Deployment", "alice").await.expect("alice")["metadata"]["generation"].as_i64()
        };
        let before = generation().await;
        let operator = world.operator_as(Faults::at(stop), &self.flags()).await;
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
        let second = world.operator_as(Faults::default(), &self.flags()).await;
        self.until_its_end(&world).await;
        let alice = world.get("AtSign", "alice").await.expect("alice");
        let rollouts = generation().await.zip(before).map(|(after, before)| after - before);
        assert_eq!(rollouts, Some(self.moves().into()), "{self:?}, stopped {stop:?}");
        let conditions = alice["status"]["conditions"].to_string();
        if self == Self::MoveAndReturn {
            assert!(conditions.contains("ResizeBlocked"), "{self:?}, stopped {stop:?}: {conditions}");
        } else {
            assert_eq!(alice["status"]["memory"]["placement"], "OnPod", "{self:?}, stopped {stop:?}");
            assert!(!conditions.contains("ResizeBlocked"), "{self:?}, stopped {stop:?}: {conditions}");
        }
        // Before a server is moved, each operator sees for itself what fits in place.
        if self != Self::GrowAndLoseThePod && !self.moves() {
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
    // A move takes many writes and waits for the scheduler: every third of them in the short run.
    let stops = stops.step_by(if story.moves() { pick(3, 1) } else { 1 });
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

#[tokio::test]
async fn stopped_anywhere_while_a_server_moves_to_another_node() {
    stopped_anywhere_ends_the_same(Story::Move).await;
}

#[tokio::test]
async fn stopped_anywhere_while_a_server_moves_and_returns() {
    stopped_anywhere_ends_the_same(Story::MoveAndReturn).await;
}
