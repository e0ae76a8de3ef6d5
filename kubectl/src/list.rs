//! `kubectl atsign list`: the AtSigns and how they are.

use anyhow::Result;
use atsign_crds::AtSign;
use atsign_crds::condition::{READY, SUSPENDED};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;

use crate::outcome::Outcome;
use crate::output::{Format, UNKNOWN, show, table};
use crate::{cluster, find, time, wait};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  kubectl atsign list -A
  kubectl atsign list --not-ready
  kubectl atsign list -A -o json | jq -r '.items[] | select(.ready | not) | .name'";

/// Which ones.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only those with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only those that are not ready though they should be: without those that are suspended
    #[arg(long)]
    pub not_ready: bool,
    /// json or yaml instead of a table
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// What is shown.
#[derive(Debug, Serialize)]
pub struct List {
    /// The AtSigns.
    pub items: Vec<Item>,
}

/// One AtSign.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    namespace: String,
    name: String,
    at_sign: String,
    tier: Option<String>,
    ready: bool,
    /// Why it is ready, or why not.
    reason: String,
    suspended: bool,
    paused: bool,
    activated: Option<bool>,
    /// The limit of memory.
    memory: Option<String>,
    /// What it uses of it, to an eighth.
    memory_used: Option<String>,
    storage: Option<String>,
    storage_used: Option<String>,
    address: Option<String>,
    created: Option<Time>,
}

/// Shows them.
pub async fn list(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let params = ListParams { label_selector: arguments.selector.clone(), ..ListParams::default() };
    let found = find::all(&cluster.api_in::<AtSign>(arguments.all_namespaces), &params).await?;
    let mut list = List { items: found.iter().map(item).collect() };
    if arguments.not_ready {
        list.items.retain(|item| !item.ready && !item.suspended);
    }
    if list.items.is_empty() && arguments.output.is_none() {
        let place = if arguments.all_namespaces {
            "any namespace".to_owned()
        } else {
            format!("namespace {}", cluster.namespace)
        };
        eprintln!("No AtSigns found in {place}.");
        return Ok(Outcome::Done);
    }
    show(arguments.output, &list, || render(&list, arguments.all_namespaces, Timestamp::now()))?;
    Ok(Outcome::Done)
}

/// What is shown of one.
pub fn item(at_sign: &AtSign) -> Item {
    let status = at_sign.status.clone().unwrap_or_default();
    let (memory, storage) = (status.memory.unwrap_or_default(), status.storage.unwrap_or_default());
    Item {
        namespace: at_sign.namespace().unwrap_or_default(),
        name: at_sign.name_any(),
        at_sign: find::shown(at_sign),
        tier: status.tier,
        ready: find::is_ready(at_sign),
        reason: find::condition(at_sign, READY)
            .map_or_else(|| "NotSeenYet".to_owned(), |ready| ready.reason.clone()),
        suspended: find::is(at_sign, SUSPENDED),
        paused: wait::is_paused(at_sign),
        activated: status.activated,
        memory: memory.current,
        memory_used: memory.used,
        storage: storage.capacity,
        storage_used: storage.used,
        address: status.address,
        created: at_sign.creation_timestamp(),
    }
}

/// The table.
pub fn render(list: &List, with_namespace: bool, now: Timestamp) -> String {
    let header =
        ["NAMESPACE", "NAME", "ATSIGN", "TIER", "READY", "REASON", "MEMORY", "STORAGE", "ACTIVATED", "AGE"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(list.items.iter().map(|item| {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let of = |used: &Option<String>, all: &Option<String>| match (used, all) {
            (None, None) => UNKNOWN.to_owned(),
            (used, all) => format!("{}/{}", or_unknown(used), or_unknown(all)),
        };
        let yes_or_no = |is: bool| (if is { "yes" } else { "no" }).to_owned();
        [
            item.namespace.clone(),
            item.name.clone(),
            item.at_sign.clone(),
            or_unknown(&item.tier),
            yes_or_no(item.ready),
            if item.paused { format!("{} (paused)", item.reason) } else { item.reason.clone() },
            of(&item.memory_used, &item.memory),
            of(&item.storage_used, &item.storage),
            item.activated.map_or_else(|| UNKNOWN.to_owned(), yes_or_no),
            time::age(item.created.as_ref(), now),
        ]
    }));
    if with_namespace {
        return table(&rows);
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|[_, name, at_sign, tier, ready, reason, memory, storage, activated, age]| {
            [name, at_sign, tier, ready, reason, memory, storage, activated, age]
        })
        .collect();
    table(&rows)
}
