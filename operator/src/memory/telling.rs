//! Tells what there is to say of one server's memory: in the status of its AtSign, and as Events.

use std::time::Duration;

use atsign_crds::condition::{MEMORY_CAP_REACHED, RESIZE_BLOCKED};
use atsign_crds::{AtSign, quantity};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use serde_json::json;
use tokio::time::Instant;

use super::fleet::{Key, Shared, Wanted};
use super::report::{Change, Facts, Said, due, report};
use crate::backoff::jittered;
use crate::names;

/// How soon a status is tried again that could not be written.
const AGAIN: Duration = Duration::from_secs(6);

/// What was told of one server.
pub(super) struct Telling {
    /// What the status says.
    pub(super) said: Said,
    written: Timestamp,
}

impl Telling {
    /// Goes on from what the status of `at_sign` says.
    pub(super) fn new(at_sign: &AtSign) -> Self {
        // An operator before us may have written just now.
        Self { said: Said::by(at_sign), written: Timestamp::now() }
    }

    /// Writes the status, if it is time for what is new; else returns when it is.
    pub(super) async fn say(
        &mut self,
        shared: &Shared,
        key: &Key,
        wanted: &Wanted,
        facts: &Facts<'_>,
        need: u64,
        now: Timestamp,
    ) -> Option<Instant> {
        let said = report(&self.said, facts, now);
        shared.count(key, &wanted.tier, facts.pod, need, &said);
        let at = due(&self.said, &said, self.written, now)?;
        if at > now {
            return Some(instant(at, now));
        }
        for type_ in [MEMORY_CAP_REACHED, RESIZE_BLOCKED] {
            if let Some(condition) = said.reason(type_)
                && self.said.reason(type_).map(|before| &before.reason) != Some(&condition.reason)
            {
                let reason = if type_ == RESIZE_BLOCKED { &condition.reason } else { type_ };
                publish(shared, wanted, EventType::Warning, "Resize", reason, &condition.message).await;
            }
        }
        let api: Api<AtSign> = Api::namespaced(shared.client.clone(), &wanted.namespace);
        let patch = json!({
            "apiVersion": AtSign::api_version(&()),
            "kind": AtSign::kind(&()),
            "metadata": {"name": wanted.name, "uid": wanted.uid},
            "status": {"memory": said.memory, "conditions": said.conditions},
        });
        let params = PatchParams::apply(names::MEMORY_MANAGER).force();
        match api.patch_status(&wanted.name, &params, &Patch::Apply(&patch)).await {
            Ok(_) => {}
            // It was deleted meanwhile, or deleted and made again: this status is of nobody.
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {}
            Err(error) => {
                tracing::warn!(%error, at_sign = wanted.name, "the status could not be written");
                return Some(Instant::now() + jittered(AGAIN));
            }
        }
        self.said = said;
        self.written = now;
        None
    }

    /// Tells of a size that a server has got.
    pub(super) async fn changed(&mut self, shared: &Shared, wanted: &Wanted, change: &Change) {
        let sentence = change.sentence();
        let reason = if change.to > change.from { "MemoryGrown" } else { "MemoryShrunk" };
        let action =
            format!("ResizeFrom{}To{}", quantity::display(change.from), quantity::display(change.to));
        publish(shared, wanted, EventType::Normal, &action, reason, &format!("memory {sentence}")).await;
        self.said.memory.last_resize_reason = Some(sentence);
        // Said in the next report, with the size.
        self.said.memory.current = None;
    }
}

/// An Event is a courtesy: what it tells stands in the status too.
pub(super) async fn publish(
    shared: &Shared,
    wanted: &Wanted,
    type_: EventType,
    action: &str,
    reason: &str,
    note: &str,
) {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(250).collect()),
        // Events of one action are counted together and keep the first one's words.
        action: action.to_owned(),
        secondary: None,
    };
    let about = ObjectReference {
        api_version: Some(AtSign::api_version(&()).into_owned()),
        kind: Some(AtSign::kind(&()).into_owned()),
        name: Some(wanted.name.clone()),
        namespace: Some(wanted.namespace.clone()),
        uid: Some(wanted.uid.clone()),
        ..ObjectReference::default()
    };
    if let Err(error) = shared.recorder.publish(&event, &about).await {
        tracing::warn!(%error, reason, "the Event could not be written");
    }
}

/// The moment of the clock that does not jump.
pub(super) fn instant(at: Timestamp, now: Timestamp) -> Instant {
    Instant::now() + Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
