//! The operator stopped between any two of its API calls: one that starts afterwards comes to the same end, and nothing
//! is lost, doubled or left behind. Only writes are counted, for between two reads nothing of the cluster differs.

mod cluster;

use cluster::World;
use cluster::faults::{Faults, Stop};
use futures::StreamExt as _;
use serde_json::{Value, json};

/// A story that an operator lives through: what is applied before it starts, and what is true at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    Create,
    CreateOnExport,
    DeleteRetained,
    DeleteWithData,
    DeleteOnExport,
}

impl Story {
    /// Everything up to the point from which the operator is disturbed.
    async fn begin(self, world: &World) {
        let body = match self {
            Self::Create | Self::DeleteRetained => json!({"spec": {}}),
            Self::DeleteWithData => json!({"spec": {"deletionPolicy": "Delete"}}),
            Self::CreateOnExport | Self::DeleteOnExport => {
                let tier = format!("nfs-{}", world.namespace);
                let nfs = json!({"server": "nfs.example.com", "path": "/export"});
                world
                    .apply("AtSignTier", &tier, json!({"spec": {"storage": {"size": "1Gi", "nfs": nfs}}}))
                    .await;
                json!({"spec": {"tier": tier, "deletionPolicy": "Delete"}})
            }
        };
        world.apply("AtSign", "alice", body).await;
        if let Self::DeleteRetained | Self::DeleteWithData | Self::DeleteOnExport = self {
            let operator = world.operator().await;
            world.until("alice", "True", "ServerReady").await;
            world.until_bound("alice").await;
            // The volume is Retain once the operator has seen that the claim is bound.
            world.until_at_rest().await;
            operator.stop().await;
            world.delete("AtSign", "alice").await;
        }
    }

    async fn end(self, world: &World) {
        match self {
            Self::Create | Self::CreateOnExport => {
                world.until("alice", "True", "ServerReady").await;
                world.until_bound("alice").await;
            }
            Self::DeleteRetained | Self::DeleteWithData | Self::DeleteOnExport => {
                world.until_gone("AtSign", "alice").await;
                // By the garbage collector, once its owner is gone.
                world.until_gone("Service", "alice").await;
                world.until_gone("Secret", "alice-tls").await;
                if self == Self::DeleteWithData {
                    // By the volume's deleter, once its claim is gone.
                    world.until_no_volumes().await;
                }
            }
        }
        world.until_at_rest().await;
    }

    /// The story without a fault: its end, and how many writes it took.
    async fn undisturbed(self) -> (Vec<(String, Value)>, usize) {
        let world = World::new().await;
        self.begin(&world).await;
        let operator = world.operator().await;
        self.end(&world).await;
        let writes = operator.faults.writes();
        operator.stop().await;
        (without_events(world.snapshot().await), writes)
    }

    /// The story with one fault; whether that struck before the end.
    async fn disturbed(self, stop: Stop, expected: &[(String, Value)]) -> bool {
        let world = World::new().await;
        self.begin(&world).await;
        let operator = world.operator_with(Faults::at(stop)).await;
        let struck = tokio::select! {
            () = operator.faults.struck() => true,
            () = self.end(&world) => false,
        };
        operator.kill();
        let second = world.operator().await;
        self.end(&world).await;
        second.stop().await;
        let found = without_events(world.snapshot().await);
        let names =
            |objects: &[(String, Value)]| objects.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(expected), "{self:?}, stopped {stop:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected, "{self:?}, stopped {stop:?}");
        }
        struck
    }
}

/// Events tell what happened, and that differs.
fn without_events(snapshot: Vec<(String, Value)>) -> Vec<(String, Value)> {
    snapshot.into_iter().filter(|(name, _)| !name.starts_with("Event ")).collect()
}

async fn stopped_anywhere_ends_the_same(story: Story) {
    let (expected, writes) = story.undisturbed().await;
    assert!(writes > 0, "{story:?} takes no write");
    let stops = (0..writes).flat_map(|k| [Stop::Before(k), Stop::After(k)]);
    let runs = stops.map(|stop| story.disturbed(stop, &expected));
    let struck = futures::stream::iter(runs)
        .buffer_unordered(8)
        .filter(|struck| std::future::ready(*struck))
        .count()
        .await;
    // How many intermediate states are seen, and so written into a status, differs by one or two from run to run.
    assert!(struck + 6 >= 2 * writes, "{struck} faults struck, for {writes} writes");
}

#[tokio::test]
async fn stopped_anywhere_while_it_creates() {
    stopped_anywhere_ends_the_same(Story::Create).await;
}

#[tokio::test]
async fn stopped_anywhere_while_it_creates_on_an_export() {
    stopped_anywhere_ends_the_same(Story::CreateOnExport).await;
}

#[tokio::test]
async fn a_deletion_that_retains_takes_no_write_at_which_it_could_be_stopped() {
    let (kept, writes) = Story::DeleteRetained.undisturbed().await;
    assert_eq!(writes, 0);
    assert!(kept.iter().any(|(name, _)| name == "PersistentVolumeClaim alice"), "{kept:#?}");
    assert!(
        kept.iter().any(|(name, volume)| name == "PersistentVolume" && volume["policy"] == "Retain"),
        "{kept:#?}"
    );
}

#[tokio::test]
async fn stopped_anywhere_while_it_deletes_with_the_data() {
    let (left, _) = Story::DeleteWithData.undisturbed().await;
    assert!(left.iter().all(|(name, _)| name.contains("atsign-")), "something is left: {left:#?}");
    stopped_anywhere_ends_the_same(Story::DeleteWithData).await;
}

#[tokio::test]
async fn stopped_anywhere_while_it_deletes_with_the_data_on_an_export() {
    stopped_anywhere_ends_the_same(Story::DeleteOnExport).await;
}
