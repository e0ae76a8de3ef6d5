//! `stats` (reference page section 2.15).

use std::io;
use std::time::Duration;

use atsign_protocol::verb::{Figure, Stats};
use atsign_protocol::{AtError, Millis, time};
use regex_lite::Regex;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWrite;

use super::{info, regex};
use crate::atserver::AtServer;
use crate::connections::{By, Connected};
use crate::session::{Answer, Client, Writer};
use crate::store::{Commit, Log, LogPage, LogStart, NotificationCounts, Store, sign};

/// Entries read from the commit log at a time.
const PAGE: usize = 200;

pub(super) async fn stats<S, T>(
    server: &AtServer<S>,
    client: &Client,
    stats: &Stats,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let filter = match stats.regex.as_deref().map(|pattern| regex(pattern, client)).transpose() {
        Ok(regex) => Filter { client, regex },
        Err(error) => return Ok(Err(error)),
    };
    if !stats.figures.contains(&Figure::LatestCommits) {
        return Ok(told(server, &filter, &stats.figures).await);
    }
    writer.push(b"data: [").await?;
    for (index, figure) in stats.figures.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let head =
            format!("{separator}{{\"id\":\"{}\",\"name\":\"{}\",\"value\":", figure.id(), figure.name());
        writer.push(head.as_bytes()).await?;
        if *figure == Figure::LatestCommits {
            if let Err(error) = latest_commits(server, &filter, writer).await? {
                return Ok(Err(error));
            }
        } else {
            match value(server, &filter, *figure).await {
                Ok(value) => writer.push(value.to_string().as_bytes()).await?,
                Err(error) => return Ok(Err(error)),
            }
        }
        writer.push(b"}").await?;
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

/// Figures that are short.
async fn told<S: Store>(
    server: &AtServer<S>,
    filter: &Filter<'_>,
    figures: &[Figure],
) -> Result<Answer, AtError> {
    let mut entries = Vec::with_capacity(figures.len());
    for figure in figures {
        let value = value(server, filter, *figure).await?;
        entries.push(json!({"id": figure.id().to_string(), "name": figure.name(), "value": value}));
    }
    Ok(Answer::Spaced(Value::from(entries).to_string()))
}

async fn value<S: Store>(
    server: &AtServer<S>,
    filter: &Filter<'_>,
    figure: Figure,
) -> Result<Value, AtError> {
    Ok(match figure {
        Figure::InboundConnections => server.connections.count().to_string().into(),
        Figure::OutboundConnections => server.peers.connections().to_string().into(),
        Figure::LastCommitId => last_commit(server, filter).await?.to_string().into(),
        Figure::StorageSize => server.store.size().await?.1.into(),
        Figure::Version => info::VERSION.into(),
        Figure::DiskSize => disk_size(server.store.size().await?.1).into(),
        Figure::TopAtSigns | Figure::TopKeys | Figure::LastLoggedIn => {
            server.access_log.flush(&server.store).await?;
            let visits = server.store.visits(server.tuning.top).await?;
            match figure {
                Figure::TopAtSigns => hits(visits.at_signs).into(),
                Figure::TopKeys => hits(visits.keys).into(),
                _ => visits.last.map_or_else(|| "Not Available".to_owned(), time::print).into(),
            }
        }
        Figure::LastPkam => "Not Available".into(),
        Figure::NotificationCount => {
            notifications(&server.store.notification_counts().await?, server.now()).into()
        }
        Figure::CommitLogCompaction => server.compactions.last(Log::Commits).into(),
        Figure::AccessLogCompaction => server.compactions.last(Log::Visits).into(),
        Figure::NotificationCompaction => server.compactions.last(Log::Notifications).into(),
        Figure::ConnectionSummary => Connections::of(server).summary(),
        Figure::ConnectionDetails => Connections::of(server).details(),
        // Written by its own function, for it may be long.
        Figure::LatestCommits => Value::Null,
    })
}

/// Who is connected: the owner, other servers, strangers.
struct Connections([Vec<Value>; 3]);

impl Connections {
    fn of<S>(server: &AtServer<S>) -> Self {
        let now = server.now();
        let time = |ago: Duration| {
            let ago = Millis::try_from(ago.as_millis()).unwrap_or(Millis::MAX);
            time::print(now.saturating_sub(ago)).replace(' ', "T")
        };
        let mut lists = [const { Vec::new() }; 3];
        for Connected { by, age, silence } in server.connections.list() {
            let (list, from) = match by {
                Some(By::Owner) => (0, Some(server.at_sign.clone())),
                Some(By::Peer(at_sign)) => (1, Some(at_sign)),
                None => (2, None),
            };
            let from = from.map(|at_sign| at_sign.to_string());
            lists[list].push(json!({"from": from, "created": time(age), "lastAccessed": time(silence)}));
        }
        Self(lists)
    }

    fn total(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn summary(self) -> Value {
        let [own, others, strangers] = self.0.each_ref().map(Vec::len);
        json!({"total": self.total(), "self": own, "other": others, "anon": strangers})
    }

    fn details(self) -> Value {
        let total = self.total();
        let [own, others, strangers] = self.0.map(|list| json!({"count": list.len(), "list": list}));
        json!({"total": total, "self": own, "other": others, "anon": strangers})
    }
}

/// Which entries of the commit log a client is told of.
struct Filter<'a> {
    client: &'a Client,
    regex: Option<Regex>,
}

impl Filter<'_> {
    fn has(&self, commit: &Commit) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(&commit.key))
            && self.client.may_read(&commit.key)
    }
}

/// The last commit id that the client can come to by `sync`; -1 for none.
async fn last_commit<S: Store>(server: &AtServer<S>, filter: &Filter<'_>) -> Result<i64, AtError> {
    if filter.client.access.is_none() {
        return Ok(server
            .store
            .last_commit(filter.regex.as_ref().map(|regex| regex.as_str().to_owned()))
            .await?);
    }
    let mut before = i64::MAX;
    loop {
        let commits = server.store.commits(LogPage { from: LogStart::Before(before), limit: PAGE }).await?;
        if let Some(found) = commits.iter().find(|commit| filter.has(commit)) {
            return Ok(found.id);
        }
        match commits.last() {
            Some(last) if commits.len() == PAGE => before = last.id,
            _ => return Ok(-1),
        }
        tokio::task::yield_now().await;
    }
}

/// `{key: [commit id, operation]}` as a text in JSON, page by page.
async fn latest_commits<S, T>(
    server: &AtServer<S>,
    filter: &Filter<'_>,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<(), AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    server.budget.reads_in_bulk();
    writer.push(b"\"{").await?;
    let (mut after, mut first) = (-1, true);
    loop {
        let page = LogPage { from: LogStart::After(after), limit: PAGE };
        let commits = match server.store.commits(page).await {
            Ok(commits) => commits,
            Err(error) => return Ok(Err(error.into())),
        };
        for commit in commits.iter().filter(|commit| filter.has(commit)) {
            let separator = if std::mem::take(&mut first) { "" } else { "," };
            let key = Value::from(commit.key.as_str());
            let entry = format!("{separator}{key}:[{},\"{}\"]", commit.id, sign(commit.operation));
            let quoted = Value::from(entry).to_string();
            writer.push(quoted.trim_matches('"').as_bytes()).await?;
        }
        match commits.last() {
            Some(last) if commits.len() == PAGE => after = last.id,
            _ => break,
        }
        tokio::task::yield_now().await;
    }
    writer.push(b"}\"").await?;
    Ok(Ok(()))
}

fn hits(names: Vec<(String, i64)>) -> String {
    let map: Map<String, Value> = names.into_iter().map(|(name, hits)| (name, hits.into())).collect();
    Value::Object(map).to_string()
}

fn disk_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut hundredths = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        hundredths = whole % 1024 * 100 / 1024;
        whole /= 1024;
        unit += 1;
    }
    json!({"size": format!("{whole}.{hundredths:02}"), "units": UNITS[unit]}).to_string()
}

fn notifications(counts: &NotificationCounts, now: Millis) -> String {
    json!({
        "total": counts.sent + counts.received,
        "type": {"sent": counts.sent, "received": counts.received},
        "status": {"delivered": counts.delivered, "failed": counts.failed, "queued": counts.queued},
        "operations": {"update": counts.updates, "delete": counts.deletes},
        "messageType": {"key": counts.keys, "text": counts.texts},
        "createdOn": now,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_a_unit_that_fits() {
        for (bytes, told) in [
            (0, r#"{"size":"0.00","units":"B"}"#),
            (1536, r#"{"size":"1.50","units":"KB"}"#),
            (5 << 30, r#"{"size":"5.00","units":"GB"}"#),
        ] {
            assert_eq!(disk_size(bytes), told);
        }
    }
}
