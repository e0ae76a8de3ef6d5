//! Last step: says how it went, where that is news; an Event for each change of Ready or its reason.

use atsign_crds::{AtSign, AtSignStatus};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::apply;
use crate::context::Context;
use crate::names;
use crate::status::{self, Outcome};

/// Writes the status of `at_sign`, if it says something new.
pub async fn update_status(
    context: &Context,
    at_sign: &AtSign,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> Result<AtSignStatus, apply::Error> {
    let previous = at_sign.status.clone().unwrap_or_default();
    let status = status::ours(&status::status(at_sign, outcome, now));
    if status == status::ours(&previous) {
        return Ok(status);
    }
    if status::ready_of(&status) != status::ready_of(&previous) {
        publish(context, at_sign, &status).await;
    }
    let name = at_sign.name_any();
    let api: Api<AtSign> = Api::namespaced(context.client.clone(), &at_sign.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": AtSign::api_version(&()),
        "kind": AtSign::kind(&()),
        "metadata": {"name": name, "uid": at_sign.uid()},
        "status": status,
    });
    let params = PatchParams::apply(names::STATUS_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => Ok(status),
        // It was deleted meanwhile, or deleted and made again: this status is of nobody.
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => Ok(status),
        Err(source) => Err(apply::failed::<AtSign>(&name, source)),
    }
}

/// An Event is a courtesy: if it cannot be written, the status still must be.
async fn publish(context: &Context, at_sign: &AtSign, status: &AtSignStatus) {
    let ready = status.conditions.iter().find(|condition| condition.type_ == atsign_crds::condition::READY);
    let Some(ready) = ready else { return };
    let abnormal = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == atsign_crds::condition::STALLED && condition.status == "True");
    let trouble = abnormal || TROUBLES.contains(&ready.reason.as_str());
    let event = Event {
        type_: if trouble { EventType::Warning } else { EventType::Normal },
        reason: ready.reason.clone(),
        // The API takes at most 1024 bytes.
        note: Some(ready.message.chars().take(250).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &at_sign.object_ref(&())).await {
        tracing::warn!(%error, reason = ready.reason, "the Event could not be written");
    }
}

/// Reasons that are worth a warning though the server may come up by itself.
const TROUBLES: [&str; 13] = [
    "ApplyRefused",
    "StorageJobFailed",
    "PodRefused",
    "Unschedulable",
    "ImagePullFailed",
    "CrashLoop",
    "OutOfMemory",
    "MemoryBelowRuntimeMinimum",
    "PodConfigInvalid",
    "ContainerFailed",
    "DeletionBlocked",
    "RouteNotAccepted",
    "RouteNotResolved",
];
