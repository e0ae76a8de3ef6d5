//! `kubectl atsign top`: what the servers use now.

use std::cmp::Reverse;

use anyhow::Result;
use atsign_crds::{AtSign, quantity};
use atsign_protocol::Usage;
use clap::{Args, ValueEnum};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Serialize;

use crate::outcome::Outcome;
use crate::output::{Format, UNKNOWN, show, table};
use crate::{cluster, find, server};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  kubectl atsign top
  kubectl atsign top -A --sort-by memory

Figures are the servers' own where you may use pods/proxy, else those that the operator rounded for the status: there a
~ stands in front of them.";

/// How many servers are asked at once.
const AT_ONCE: usize = 16;

/// Which ones.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only those with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// The largest first
    #[arg(long, value_name = "COLUMN")]
    sort_by: Option<Column>,
    /// json or yaml instead of a table
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// Memory that is used
    Memory,
    /// Storage that is used
    Storage,
    /// Open connections
    Connections,
}

/// What is shown.
#[derive(Debug, Serialize)]
pub struct Top {
    /// The AtSigns.
    pub items: Vec<Item>,
}

/// One AtSign. Bytes throughout.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    namespace: String,
    name: String,
    at_sign: String,
    memory_used: Option<u64>,
    memory_limit: Option<u64>,
    storage_used: Option<u64>,
    storage_capacity: Option<u64>,
    connections: Option<u32>,
    keys: Option<u64>,
    notifications_today: Option<u64>,
    /// Whether the server itself says so, now; else the operator rounded it.
    live: bool,
}

/// Shows them.
pub async fn top(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let params = ListParams { label_selector: arguments.selector.clone(), ..ListParams::default() };
    let at_signs = find::all(&cluster.api_in::<AtSign>(arguments.all_namespaces), &params).await?;
    // Who may not see pods still gets what the status says.
    let pods = server::all(&cluster.api_in::<Pod>(arguments.all_namespaces)).await;
    let mut refusal = pods.as_ref().err().map(ToString::to_string);
    let pods = pods.unwrap_or_default();
    let client = &cluster.client;
    let ask = |at_sign: AtSign| {
        let pod = pods.get(&(at_sign.namespace().unwrap_or_default(), at_sign.name_any()));
        async move {
            match pod {
                Some(pod) => (at_sign, Some(server::usage(client, pod).await)),
                None => (at_sign, None),
            }
        }
    };
    let answers: Vec<_> = futures::stream::iter(at_signs).map(ask).buffered(AT_ONCE).collect().await;
    let mut items = Vec::with_capacity(answers.len());
    for (at_sign, answer) in answers {
        let usage = match answer {
            Some(Ok(usage)) => Some(usage),
            Some(Err(why)) => {
                refusal.get_or_insert(why);
                None
            }
            None => None,
        };
        items.push(item(&at_sign, usage.as_ref()));
    }
    if let Some(column) = arguments.sort_by {
        sort(&mut items, column);
    }
    let top = Top { items };
    if top.items.is_empty() && arguments.output.is_none() {
        eprintln!("No AtSigns found.");
        return Ok(Outcome::Done);
    }
    show(arguments.output, &top, || render(&top, arguments.all_namespaces))?;
    if let Some(why) = refusal {
        eprintln!("~ as the operator rounded it, not the server's own figure: {why}");
    }
    Ok(Outcome::Done)
}

/// The largest first.
pub fn sort(items: &mut [Item], column: Column) {
    items.sort_by_key(|item| {
        Reverse(match column {
            Column::Memory => item.memory_used,
            Column::Storage => item.storage_used,
            Column::Connections => item.connections.map(u64::from),
        })
    });
}

/// What is shown of one, by what its server says, or else by its status.
pub fn item(at_sign: &AtSign, usage: Option<&Usage>) -> Item {
    let status = at_sign.status.clone().unwrap_or_default();
    let (memory, storage) = (status.memory.unwrap_or_default(), status.storage.unwrap_or_default());
    let bytes = |quantity: Option<String>| quantity::bytes(&quantity?);
    Item {
        namespace: at_sign.namespace().unwrap_or_default(),
        name: at_sign.name_any(),
        at_sign: find::shown(at_sign),
        memory_used: usage.map(server::used).or(bytes(memory.used)),
        memory_limit: usage.map(|usage| usage.limit).filter(|limit| *limit > 0).or(bytes(memory.current)),
        storage_used: usage.map(|usage| usage.store_bytes).or(bytes(storage.used)),
        storage_capacity: bytes(storage.capacity),
        connections: usage.map(|usage| usage.connections),
        keys: usage.map(|usage| usage.keys),
        notifications_today: usage.map(|usage| usage.notifications_today),
        live: usage.is_some(),
    }
}

/// The table.
pub fn render(top: &Top, with_namespace: bool) -> String {
    let header = [
        "NAMESPACE",
        "NAME",
        "ATSIGN",
        "MEMORY",
        "LIMIT",
        "MEMORY%",
        "STORAGE",
        "OF",
        "CONNECTIONS",
        "KEYS",
        "NOTIFIED",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(top.items.iter().map(|item| {
        let rounded = if item.live { "" } else { "~" };
        let figure =
            |figure: Option<u64>| figure.map_or_else(|| UNKNOWN.to_owned(), |figure| figure.to_string());
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| UNKNOWN.to_owned(), human);
        let used = |used: Option<u64>| {
            used.map_or_else(|| UNKNOWN.to_owned(), |used| format!("{rounded}{}", human(used)))
        };
        let percent = item.memory_used.zip(item.memory_limit.filter(|limit| *limit > 0));
        [
            item.namespace.clone(),
            item.name.clone(),
            item.at_sign.clone(),
            used(item.memory_used),
            bytes(item.memory_limit),
            percent.map_or_else(|| UNKNOWN.to_owned(), |(used, limit)| format!("{}%", used * 100 / limit)),
            used(item.storage_used),
            bytes(item.storage_capacity),
            figure(item.connections.map(u64::from)),
            figure(item.keys),
            figure(item.notifications_today),
        ]
    }));
    if with_namespace {
        return table(&rows);
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|[_, name, at_sign, memory, limit, percent, storage, of, connections, keys, notified]| {
            [name, at_sign, memory, limit, percent, storage, of, connections, keys, notified]
        })
        .collect();
    table(&rows)
}

/// Bytes for people: one digit behind the point while the number is small.
pub fn human(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return bytes.to_string(),
        1024..1_048_576 => (1 << 10, "Ki"),
        1_048_576..1_073_741_824 => (1 << 20, "Mi"),
        _ => (1 << 30, "Gi"),
    };
    let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}{name}") } else { format!("{whole}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_two_digits_or_so() {
        let shown = [0, 1023, 1024, 1_600_000, 6 << 20, 25_000_000, 5 << 30].map(human);
        assert_eq!(shown, ["0", "1023", "1Ki", "1.5Mi", "6Mi", "23Mi", "5Gi"]);
    }
}
