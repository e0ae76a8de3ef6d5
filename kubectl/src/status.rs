//! `kubectl atsign status`: one AtSign on one screen.

mod render;

use anyhow::Result;
use atsign_crds::condition::{READY, SUSPENDED};
use atsign_crds::{AtSign, AtSignTier};
use atsign_protocol::Usage;
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Serialize;

use crate::arguments::Name;
use crate::cluster::Cluster;
use crate::next::{Step, steps};
use crate::outcome::Outcome;
use crate::output::{Format, show};
use crate::{cluster, find, server, wait};

pub use render::render;

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  kubectl atsign status alice
  kubectl atsign status '@🛠bob' -n bobs-home
  kubectl atsign status alice -o json | jq .memory

It ends with 0 if the AtSign is ready, or suspended as was wanted, else with 3.";

/// How many events are shown of what goes wrong.
const EVENTS: usize = 5;

/// Which one.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// json or yaml instead of text
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field that programs read")]
pub struct Status {
    at_sign: String,
    namespace: String,
    name: String,
    created: Option<Time>,
    ready: bool,
    suspended: bool,
    paused: bool,
    deleting: bool,
    /// Why it is ready, or why not.
    reason: String,
    /// The same in words, with what to do.
    message: String,
    /// Since when.
    since: Option<Time>,
    address: Option<String>,
    activated: Option<bool>,
    tier: Option<String>,
    memory: Memory,
    storage: Storage,
    server: Option<Server>,
    conditions: Vec<Condition>,
    /// Warnings about it, its pod and its volume, the newest first; of a ready one there are none.
    warnings: Vec<Warning>,
    next: Vec<Step>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    /// The limit.
    current: Option<String>,
    /// What it uses; bytes where the server says so itself.
    used: Option<String>,
    used_bytes: Option<u64>,
    recommended: Option<String>,
    /// Where that stands: on the running pod, or waiting for room.
    placement: Option<String>,
    /// How far it may grow; where the tier may not be read nobody knows.
    cap: Option<String>,
    last_resize_reason: Option<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Storage {
    used: Option<String>,
    used_bytes: Option<u64>,
    capacity: Option<String>,
    claim: String,
    deletion_policy: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    pod: String,
    node: Option<String>,
    phase: String,
    restarts: i32,
    /// Why it ended the last time.
    last_end: Option<String>,
    started: Option<Time>,
    image: Option<String>,
    /// What follows is what the server says of itself, where it can be asked.
    version: Option<String>,
    connections: Option<u32>,
    keys: Option<u64>,
    notifications_today: Option<u64>,
    certificate_ends: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning {
    /// When it was seen last.
    last: Option<Time>,
    object: String,
    reason: String,
    message: String,
    count: i32,
}

/// What a [`Status`] is made of. Only the AtSign is always there: the rest may be gone, or not for this user's eyes.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The AtSign.
    pub at_sign: AtSign,
    /// Its tier.
    pub tier: Option<AtSignTier>,
    /// Its newest pod.
    pub pod: Option<Pod>,
    /// What its server says of itself.
    pub usage: Option<Usage>,
    /// What was said of it, its pod and its claim.
    pub events: Vec<Event>,
}

/// Shows it.
pub async fn status(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let found = gather(&cluster, at_sign).await;
    let status = Status::of(&found, &cluster.namespace_flag());
    show(arguments.output, &status, || render(&status, Timestamp::now()))?;
    Ok(if status.ready || status.suspended { Outcome::Done } else { Outcome::NotReady })
}

/// Reads what belongs to the AtSign, as far as this user may.
pub async fn gather(cluster: &Cluster, at_sign: AtSign) -> Found {
    let name = at_sign.name_any();
    let pods = server::pods(&cluster.api(), &name).await.unwrap_or_default();
    let pod = pods.into_iter().next();
    let usage = match &pod {
        Some(pod) if server::is_ready(pod) => server::usage(&cluster.client, pod).await.ok(),
        _ => None,
    };
    let tier = tier(&cluster.client, &at_sign).await;
    let mut events = Vec::new();
    if !find::is_ready(&at_sign) && !find::is(&at_sign, SUSPENDED) {
        let claim = claim(&at_sign);
        let pod = pod.as_ref().map(|pod| ("Pod", pod.name_any()));
        for (kind, name) in [("AtSign", name.clone()), ("Deployment", name), ("PersistentVolumeClaim", claim)]
            .into_iter()
            .chain(pod)
        {
            let about = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
            let list = cluster.api::<Event>().list(&ListParams::default().fields(&about).limit(100)).await;
            events.extend(list.into_iter().flatten());
        }
    }
    Found { at_sign, tier, pod, usage, events }
}

/// The tier in force, if it is one that can be read.
pub async fn tier(client: &Client, at_sign: &AtSign) -> Option<AtSignTier> {
    let name = at_sign
        .status
        .as_ref()
        .and_then(|status| status.tier.clone())
        .or_else(|| at_sign.spec.tier.clone())?;
    Api::all(client.clone()).get_opt(&name).await.ok().flatten()
}

fn claim(at_sign: &AtSign) -> String {
    let existing = at_sign.spec.storage.as_ref().and_then(|storage| storage.existing_claim.clone());
    existing.unwrap_or_else(|| at_sign.name_any())
}

impl Status {
    /// Puts together what was found; `flag` is what commands have to say of the namespace.
    pub fn of(found: &Found, flag: &str) -> Self {
        let at_sign = &found.at_sign;
        let ready = find::condition(at_sign, READY);
        let status = at_sign.status.clone().unwrap_or_default();
        Self {
            at_sign: find::shown(at_sign),
            namespace: at_sign.namespace().unwrap_or_default(),
            name: at_sign.name_any(),
            created: at_sign.creation_timestamp(),
            ready: find::is_ready(at_sign),
            suspended: find::is(at_sign, SUSPENDED),
            paused: wait::is_paused(at_sign),
            deleting: at_sign.metadata.deletion_timestamp.is_some(),
            reason: ready.map_or_else(|| "NotSeenYet".to_owned(), |ready| ready.reason.clone()),
            message: ready.map_or_else(
                || "the operator has not looked at it yet".to_owned(),
                |ready| ready.message.clone(),
            ),
            since: ready.map(|ready| ready.last_transition_time.clone()),
            address: status.address.clone(),
            activated: found.usage.as_ref().map(|usage| usage.activated).or(status.activated),
            tier: status.tier.clone(),
            memory: Memory::of(found),
            storage: Storage::of(found),
            server: found.pod.as_ref().map(|pod| Server::of(pod, found.usage.as_ref())),
            warnings: warnings(&found.events),
            next: steps(at_sign, flag),
            conditions: status.conditions,
        }
    }
}

impl Memory {
    fn of(found: &Found) -> Self {
        let memory = found.at_sign.status.clone().unwrap_or_default().memory.unwrap_or_default();
        let own = found.at_sign.spec.memory.as_ref().and_then(|memory| memory.cap.clone());
        let sold = |tier: &AtSignTier| {
            let cap = tier.spec.memory.as_ref().and_then(|memory| memory.cap.clone());
            cap.unwrap_or_else(|| "24Mi".to_owned())
        };
        let is_built_in =
            found.at_sign.status.as_ref().is_some_and(|status| status.tier.as_deref() == Some("built-in"));
        Self {
            used_bytes: found.usage.as_ref().map(server::used),
            used: memory.used,
            current: memory.current,
            recommended: memory.recommended,
            placement: memory.placement,
            cap: own
                .or_else(|| found.tier.as_ref().map(sold))
                .or_else(|| is_built_in.then(|| "24Mi".to_owned())),
            last_resize_reason: memory.last_resize_reason,
        }
    }
}

impl Storage {
    fn of(found: &Found) -> Self {
        let storage = found.at_sign.status.clone().unwrap_or_default().storage.unwrap_or_default();
        Self {
            used: storage.used,
            used_bytes: found.usage.as_ref().map(|usage| usage.store_bytes),
            capacity: storage.capacity,
            claim: claim(&found.at_sign),
            deletion_policy: format!("{:?}", found.at_sign.spec.deletion_policy.unwrap_or_default()),
        }
    }
}

impl Server {
    fn of(pod: &Pod, usage: Option<&Usage>) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let container = server::container(pod);
        let last_end = container.and_then(|container| container.last_state.as_ref()?.terminated.as_ref());
        let running = container.and_then(|container| container.state.as_ref()?.running.as_ref());
        let waiting =
            container.and_then(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let ending = pod.metadata.deletion_timestamp.as_ref().map(|_| "Terminating".to_owned());
        Self {
            pod: pod.name_any(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            phase: ending.or(waiting).or(status.phase).unwrap_or_else(|| "Unknown".to_owned()),
            restarts: container.map_or(0, |container| container.restart_count),
            last_end: last_end.map(|end| {
                let reason = end.reason.clone().unwrap_or_else(|| "Ended".to_owned());
                match meaning(end.exit_code) {
                    Some(meaning) => format!("{reason}, exit code {} ({meaning})", end.exit_code),
                    None => format!("{reason}, exit code {}", end.exit_code),
                }
            }),
            started: running.and_then(|running| running.started_at.clone()),
            image: container.map(|container| container.image.clone()),
            version: usage.map(|usage| usage.version.clone()),
            connections: usage.map(|usage| usage.connections),
            keys: usage.map(|usage| usage.keys),
            notifications_today: usage.map(|usage| usage.notifications_today),
            certificate_ends: usage
                .filter(|usage| usage.tls_not_after > 0)
                .and_then(|usage| Timestamp::from_second(usage.tls_not_after).ok()),
        }
    }
}

/// What `atsign-secondary` means by the code that it ends with (docs/failure-modes.md).
fn meaning(exit_code: i32) -> Option<&'static str> {
    Some(match exit_code {
        64 => "a flag makes no sense",
        65 => "the store is damaged",
        66 => "the storage cannot be used, or is another atSign's",
        69 => "its address is taken",
        70 => "a defect",
        74 => "the store could not be closed cleanly",
        75 => "another server took the store over",
        78 => "the certificate or the secret cannot be read",
        _ => return None,
    })
}

fn warnings(events: &[Event]) -> Vec<Warning> {
    let mut warnings: Vec<_> = events
        .iter()
        .filter(|event| event.type_.as_deref() == Some("Warning"))
        .map(|event| Warning {
            last: event
                .last_timestamp
                .clone()
                .or_else(|| event.series.as_ref()?.last_observed_time.clone().map(|time| Time(time.0)))
                .or_else(|| event.event_time.clone().map(|time| Time(time.0))),
            object: format!(
                "{}/{}",
                event.involved_object.kind.clone().unwrap_or_default().to_lowercase(),
                event.involved_object.name.clone().unwrap_or_default()
            ),
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
            count: event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(1),
        })
        .collect();
    warnings.sort_by_key(|warning| std::cmp::Reverse(warning.last.as_ref().map(|last| last.0)));
    warnings.truncate(EVENTS);
    warnings
}
