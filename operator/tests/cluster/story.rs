//! One AtSign in a world with played nodes, as most tests of memory begin.

use std::time::Duration;

use serde_json::{Value, json};

use super::faults::Faults;
use super::server::Server;
use super::{Operator, Pods, World};

pub const MI: u64 = 1 << 20;
/// Windows that a test can wait for.
pub const HASTY: [&str; 6] = [
    "--memory-grow-cool-down=1",
    "--memory-shrink-window=6",
    "--memory-shrink-cool-down=1",
    "--memory-wait=1",
    "--memory-deferred-after=1",
    "--memory-retry-after=600",
];

/// A world with one AtSign that runs.
pub struct Story {
    pub world: World,
    pub node: Pods,
    pub operator: Operator,
}

impl Story {
    /// Of an AtSign in a tier of this world.
    pub async fn of_tier(tier: Value, flags: &[&str]) -> Self {
        let world = World::new().await;
        let name = world.namespace.clone();
        world.apply("AtSignTier", &name, json!({"spec": tier})).await;
        Self::in_world(world, json!({"tier": name}), flags).await
    }

    pub async fn begin(spec: Value, flags: &[&str]) -> Self {
        Self::in_world(World::new().await, spec, flags).await
    }

    async fn in_world(world: World, spec: Value, flags: &[&str]) -> Self {
        let story = Self::begun(world, spec, flags).await;
        story.until("alice runs", |status| status["memory"]["used"].is_string()).await;
        story
    }

    /// Of a server that does not say what it needs.
    pub async fn unheard(world: World, spec: Value, flags: &[&str]) -> Self {
        let story = Self::begun(world, spec, flags).await;
        story.until("alice runs", |status| status["memory"]["current"].is_string()).await;
        story.node.started("alice").await;
        story
    }

    async fn begun(world: World, spec: Value, flags: &[&str]) -> Self {
        let node = world.node();
        let name = |flag: &str| flag.split_once('=').map(|(name, _)| name.to_owned());
        let hasty = HASTY.into_iter().filter(|hasty| !flags.iter().any(|flag| name(flag) == name(hasty)));
        let flags: Vec<&str> = hasty.chain(flags.iter().copied()).collect();
        let operator = world.operator_as(Faults::default(), &flags).await;
        world.apply("AtSign", "alice", json!({"spec": spec})).await;
        Self { world, node, operator }
    }

    pub async fn status(&self) -> Value {
        self.world.get("AtSign", "alice").await.unwrap_or_default()["status"].clone()
    }

    /// Waits until the status is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until_within(Duration::from_mins(2), what, wanted).await
    }

    pub async fn until_within(
        &self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not {what}: {status:#}, asked {:?}",
                self.node.asked()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn until_size(&self, size: &str) -> Value {
        self.until(&format!("at {size}"), |status| status["memory"]["current"] == size).await
    }

    pub async fn until_condition(&self, type_: &str, reason: &str) -> Value {
        let what = format!("{type_}/{reason}");
        let status = self.until(&what, |status| condition(status, type_)["reason"] == reason).await;
        condition(&status, type_).clone()
    }

    pub async fn until_event(&self, reason: &str) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            let events =
                self.world.api("Event").list(&kube::api::ListParams::default()).await.expect("Events");
            if let Some(event) = events.iter().find(|event| event.data["reason"] == reason) {
                return event.data.clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "no Event {reason}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Requests to its server so far.
    pub fn requests(&self) -> u64 {
        self.node.server("alice", Server::requests).expect("a server")
    }

    pub async fn end(self) {
        self.operator.stop().await;
    }
}

/// A condition of a status.
pub fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    let conditions = status["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|found| found["type"] == type_)).unwrap_or(&Value::Null)
}
