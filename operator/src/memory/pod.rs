//! What of a pod its memory is about: a few hundred bytes, of the sixty thousand that a pod has.

use atsign_crds::quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use std::collections::BTreeMap;

use crate::build::template::CONTAINER;
use crate::names;

/// A pod's memory, as the API server shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// The limit that it asks for.
    pub requested: u64,
    /// Whether its node has started it.
    pub started: bool,
    /// The limit that the node gave it, once it runs, where the node says so.
    pub actual: Option<u64>,
    /// Why the limit that it asks for is not there yet, where the node says so.
    pub resize: Option<Resize>,
    /// When the server was killed last for want of memory.
    pub killed: Option<Timestamp>,
    /// The move that it came of, if it came of one.
    pub moved: Option<i64>,
    /// That no node takes it.
    pub unscheduled: Option<Unscheduled>,
}

/// A pod that no node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unscheduled {
    /// Since when.
    pub since: Timestamp,
    /// In the scheduler's words.
    pub message: String,
}

/// What a node says of a resize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Not now: there is no room. The node tries again by itself.
    Deferred {
        /// Since when.
        since: Timestamp,
        /// In the node's words.
        message: String,
    },
    /// Never.
    Infeasible {
        /// In the node's words.
        message: String,
    },
    /// It is tried and fails.
    Failing {
        /// Since when.
        since: Timestamp,
        /// In the node's words.
        message: String,
    },
    /// It is under way.
    InProgress,
}

impl PodView {
    /// Of a server's pod that is not on its way out.
    pub fn of(pod: &Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = pod.status.clone().unwrap_or_default();
        // A pod that ended keeps its last figures.
        if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let container = spec.containers.iter().find(|container| container.name == CONTAINER)?;
        let running = status.container_statuses.iter().flatten().find(|status| status.name == CONTAINER);
        Some(Self {
            name: pod.name_any(),
            uid: pod.uid()?,
            created: pod.creation_timestamp()?.0,
            node: spec.node_name.clone(),
            ip: status.pod_ip.clone(),
            requested: memory(container.resources.as_ref()?.limits.as_ref())?,
            started: running.is_some_and(has_started),
            actual: running.and_then(|running| memory(running.resources.as_ref()?.limits.as_ref())),
            resize: resize(&status, pod.metadata.generation),
            killed: running.and_then(killed),
            moved: pod.annotations().get(names::MOVED).and_then(|moved| moved.parse().ok()),
            unscheduled: unscheduled(&status),
        })
    }

    /// The memory that the server has, or starts with.
    pub fn limit(&self) -> u64 {
        self.actual.unwrap_or(self.requested)
    }

    /// Whether the node has not given yet what the pod asks for.
    pub fn is_resizing(&self) -> bool {
        self.resize.is_some() || self.actual.is_some_and(|actual| actual != self.requested)
    }
}

fn memory(resources: Option<&BTreeMap<String, Quantity>>) -> Option<u64> {
    quantity::bytes(&resources?.get("memory")?.0)
}

/// A condition that speaks of an earlier request says nothing of this one but that the node has not got to it yet.
fn resize(status: &PodStatus, generation: Option<i64>) -> Option<Resize> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let find = |type_: &str| conditions.iter().find(|found| found.type_ == type_ && found.status == "True");
    let message = |condition: &PodCondition| condition.message.clone().unwrap_or_default();
    let since = |condition: &PodCondition| {
        condition.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    let stale =
        |condition: &PodCondition| condition.observed_generation.is_some_and(|seen| Some(seen) < generation);
    if let Some(pending) = find("PodResizePending") {
        if stale(pending) {
            return Some(Resize::InProgress);
        }
        return Some(match pending.reason.as_deref() {
            Some("Infeasible") => Resize::Infeasible { message: message(pending) },
            _ => Resize::Deferred { since: since(pending), message: message(pending) },
        });
    }
    let progress = find("PodResizeInProgress")?;
    Some(match progress.reason.as_deref() {
        Some("Error") if !stale(progress) => {
            Resize::Failing { since: since(progress), message: message(progress) }
        }
        _ => Resize::InProgress,
    })
}

fn has_started(status: &ContainerStatus) -> bool {
    let both = [status.state.as_ref(), status.last_state.as_ref()];
    both.into_iter().flatten().any(|state| state.running.is_some() || state.terminated.is_some())
}

fn unscheduled(status: &PodStatus) -> Option<Unscheduled> {
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|found| found.type_ == "PodScheduled" && found.status == "False")?;
    Some(Unscheduled {
        since: scheduled.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        message: scheduled.message.clone().unwrap_or_default(),
    })
}

/// When the container ended last for want of memory; whether it starts again or not.
fn killed(status: &ContainerStatus) -> Option<Timestamp> {
    let both = [status.state.as_ref(), status.last_state.as_ref()];
    let ended = both.into_iter().flatten().find_map(|state| state.terminated.as_ref())?;
    let killed = ended.reason.as_deref() == Some("OOMKilled");
    killed.then(|| ended.finished_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

#[cfg(test)]
impl PodView {
    /// A server's pod that runs with what it asks for.
    pub(super) fn running(limit: u64, created: Timestamp) -> Self {
        Self {
            name: "alice-1".to_owned(),
            uid: "u".to_owned(),
            created,
            node: None,
            ip: None,
            requested: limit,
            started: true,
            actual: Some(limit),
            resize: None,
            killed: None,
            moved: None,
            unscheduled: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view_of(status: &Value) -> PodView {
        let pod = json!({
            "metadata": {"name": "alice-1", "uid": "u", "creationTimestamp": "2026-11-24T10:00:00Z"},
            "spec": {"nodeName": "n", "containers": [
                {"name": CONTAINER, "resources": {"limits": {"memory": "12Mi"}}}]},
            "status": status,
        });
        PodView::of(&serde_json::from_value(pod).expect("a pod")).expect("a view")
    }

    fn resize_of(type_: &str, reason: &str) -> Option<Resize> {
        let condition = json!({"type": type_, "status": "True", "reason": reason, "message": "m",
            "lastTransitionTime": "2026-11-24T10:00:00Z"});
        view_of(&json!({"conditions": [condition]})).resize
    }

    #[test]
    fn the_limit_is_what_the_node_gave_and_before_it_what_is_asked_for() {
        assert_eq!(view_of(&json!({})).limit(), 12 << 20);
        let status = json!({"containerStatuses": [{"name": CONTAINER, "image": "i", "imageID": "", "ready": true,
            "restartCount": 0, "resources": {"limits": {"memory": "6Mi"}}}]});
        let view = view_of(&status);
        assert_eq!((view.limit(), view.is_resizing()), (6 << 20, true));
    }

    #[test]
    fn every_outcome_of_a_resize_is_recognised() {
        let since: Timestamp = "2026-11-24T10:00:00Z".parse().expect("a time");
        let message = "m".to_owned();
        for (type_, reason, expected) in [
            ("PodResizePending", "Deferred", Some(Resize::Deferred { since, message: message.clone() })),
            ("PodResizePending", "Infeasible", Some(Resize::Infeasible { message: message.clone() })),
            ("PodResizeInProgress", "Error", Some(Resize::Failing { since, message })),
            ("PodResizeInProgress", "", Some(Resize::InProgress)),
            ("Ready", "", None),
        ] {
            assert_eq!(resize_of(type_, reason), expected, "{type_} {reason}");
        }
    }

    #[test]
    fn a_server_that_was_killed_for_want_of_memory_is_noticed_also_while_it_does_not_run() {
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-24T10:00:00Z"}});
        for (state, last) in [(ended.clone(), json!({})), (json!({"running": {}}), ended)] {
            let status = json!({"containerStatuses": [{"name": CONTAINER, "image": "i", "imageID": "", "ready": true,
                "restartCount": 1, "state": state, "lastState": last}]});
            assert_eq!(view_of(&status).killed.map(Timestamp::as_second), Some(1_795_514_400));
        }
    }
}
