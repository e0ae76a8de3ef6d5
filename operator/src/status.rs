//! What is said of an AtSign. Pure: [`update_status`](crate::update_status) writes it.

use atsign_crds::condition::{POD_SETTINGS_PENDING, QUOTA_EXCEEDED, READY, STORAGE_SIZE_DIFFERS};
use atsign_crds::{AtSign, AtSignStatus, StorageStatus, quantity};
use atsign_protocol::Usage;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use crate::build::{Applied, Resources};
use crate::condition::{self, Because, Progress};
use crate::dereference::Observed;
use crate::validate::Server;
use crate::validate::exposure::with_port;
use crate::{exposure_problem, pod_problem, quota};

/// What stands for the tier where there is no AtSignTier.
pub const BUILT_IN_TIER: &str = "built-in";

/// What a reconcile came to.
pub enum Outcome<'a> {
    /// Everything is applied; clients reach the server, or this is why not.
    Applied(&'a Server, &'a Observed, &'a Resources<Applied>, Result<(), &'a Because>),
    /// Nothing was, or not all.
    Not(Progress),
}

/// The status for `outcome`.
pub fn status(at_sign: &AtSign, outcome: &Outcome<'_>, now: Timestamp) -> AtSignStatus {
    let previous = at_sign.status.clone().unwrap_or_default();
    let generation = at_sign.metadata.generation;
    match outcome {
        Outcome::Not(progress) => AtSignStatus {
            observed_generation: generation,
            conditions: condition::conditions(progress, Vec::new(), &previous.conditions, generation, now),
            ..previous
        },
        Outcome::Applied(server, observed, applied, reached) => {
            let progress = progress(server, observed, applied, *reached);
            let special = special(server, observed, applied, &previous);
            let address = match progress {
                Progress::Ready(_) => server.exposure.address(&applied.service),
                _ => previous.address,
            };
            let usage = observed.usage.as_ref();
            AtSignStatus {
                observed_generation: generation,
                at_sign: Some(server.at_sign.to_string()),
                tier: Some(server.tier.clone().unwrap_or_else(|| BUILT_IN_TIER.to_owned())),
                address,
                activated: activated(observed, previous.activated),
                memory: None,
                storage: Some(storage(server, observed, applied, usage, previous.storage)),
                limits: quota::status(&server.limits, usage, previous.limits.as_ref()),
                conditions: condition::conditions(&progress, special, &previous.conditions, generation, now),
            }
        }
    }
}

/// Whether the owner has logged in, as far as the server said so, now or before.
pub fn activated(observed: &Observed, previous: Option<bool>) -> Option<bool> {
    observed.usage.as_ref().map(|usage| usage.activated).or(previous)
}

/// The part of a status that is written here: other fields and conditions have other writers.
pub fn ours(status: &AtSignStatus) -> AtSignStatus {
    let mut ours = status.clone();
    ours.memory = None;
    ours.storage = ours.storage.filter(|storage| *storage != StorageStatus::default());
    ours.conditions.retain(|condition| condition::OURS.contains(&condition.type_.as_str()));
    ours.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    ours
}

/// The Ready condition's status and reason: what an Event is about.
pub fn ready_of(status: &AtSignStatus) -> Option<(&str, &str)> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY)?;
    Some((&ready.status, &ready.reason))
}

fn progress(
    server: &Server,
    observed: &Observed,
    applied: &Resources<Applied>,
    reached: Result<(), &Because>,
) -> Progress {
    if server.suspend {
        return if observed.pods.is_empty() {
            let message =
                "stopped because spec.suspend is true, the data is kept; set it to false to start the server";
            Progress::Suspended(Because::new("Suspended", message))
        } else {
            Progress::Reconciling(Because::new("Suspending", "waiting until the pod has ended"))
        };
    }
    if is_available(&applied.deployment, observed.deployment.as_ref()) {
        if let Some(problem) = exposure_problem::find(server, &applied.service, applied.route.as_ref()) {
            return problem;
        }
        if let Err(because) = reached {
            return Progress::Reconciling(because.clone());
        }
        let place = server.exposure.place(&applied.service);
        let place = place.map(|(host, port)| with_port(host, port)).unwrap_or_default();
        let message = format!("{} is served at {place}", server.at_sign);
        return Progress::Ready(Because::new("ServerReady", message));
    }
    pod_problem::find(
        server,
        &applied.deployment,
        applied.claim.as_ref().or(observed.claim.as_ref()),
        observed,
    )
}

/// Whether the one pod of this very template answers. A new label or annotation counts as a generation too, and has
/// nothing to do with the pod: `before` says whether there was more to it.
pub fn is_available(deployment: &Deployment, before: Option<&Deployment>) -> bool {
    let Some(status) = &deployment.status else { return false };
    let is_observed = |deployment: &Deployment| {
        let status = deployment.status.as_ref();
        let observed = status.and_then(|status| status.observed_generation);
        observed.is_some() && observed == deployment.metadata.generation
    };
    let same = before.is_some_and(|before| is_observed(before) && before.spec == deployment.spec);
    (same || is_observed(deployment))
        && status.available_replicas.unwrap_or_default() >= 1
        && status.updated_replicas.unwrap_or_default() >= 1
}

fn pending(server: &Server) -> Because {
    let (namespace, name) = (&server.namespace, &server.name);
    Because::new(
        "TierChanged",
        format!(
            "the tier's pod settings come with the next rollout; to have them now: kubectl annotate atsign -n {namespace} {name} {}=\"$(date)\" --overwrite",
            atsign_crds::name::RESTART_ANNOTATION
        ),
    )
}

/// What is special, beside how it goes.
fn special(
    server: &Server,
    observed: &Observed,
    applied: &Resources<Applied>,
    previous: &AtSignStatus,
) -> Vec<(&'static str, Because)> {
    let tier = server
        .tier
        .as_ref()
        .map_or_else(|| "the built-in tier".to_owned(), |tier| format!("AtSignTier {tier}"));
    let exceeded = match &observed.usage {
        Some(usage) => quota::exceeded(&server.limits, usage, &tier),
        // A server that does not answer just now has not become smaller.
        None => quota::standing(&server.limits, &previous.conditions),
    };
    [
        (POD_SETTINGS_PENDING, applied.pod_settings_pending.then(|| pending(server))),
        (QUOTA_EXCEEDED, exceeded),
        (STORAGE_SIZE_DIFFERS, server.size_differs.clone()),
    ]
    .into_iter()
    .filter_map(|(type_, because)| Some((type_, because?)))
    .collect()
}

fn storage(
    server: &Server,
    observed: &Observed,
    applied: &Resources<Applied>,
    usage: Option<&Usage>,
    previous: Option<StorageStatus>,
) -> StorageStatus {
    let claim = applied.claim.as_ref().or(observed.claim.as_ref());
    let capacity = claim.and_then(|claim| claim.status.as_ref()?.capacity.as_ref()?.get("storage").cloned());
    let previous = previous.unwrap_or_default();
    let limit = server.limits.storage_bytes;
    let used = usage.map(|usage| match limit {
        Some(limit) => quota::storage_used(usage.store_bytes, limit, previous.used.as_deref()),
        None => quantity::display(to_a_doubling(usage.store_bytes)),
    });
    StorageStatus {
        capacity: capacity.map(|capacity| capacity.0),
        used: used.or(previous.used),
        limit: limit.map(|limit| quantity::display(limit.unsigned_abs())),
    }
}

/// `bytes`, rounded up to a power of two of at least 64Ki.
fn to_a_doubling(bytes: u64) -> u64 {
    bytes.max(64 << 10).checked_next_power_of_two().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_so_that_they_are_seldom_written() {
        assert_eq!(quantity::display(to_a_doubling(1)), "64Ki");
        assert_eq!(quantity::display(to_a_doubling(70_000)), "128Ki");
    }

    #[test]
    fn what_others_write_into_a_status_is_not_ours() {
        let memory = atsign_crds::MemoryStatus { recommended: Some("8Mi".to_owned()), ..Default::default() };
        let status = AtSignStatus { memory: Some(memory), ..AtSignStatus::default() };
        assert_eq!(ours(&status), ours(&AtSignStatus::default()));
    }
}
