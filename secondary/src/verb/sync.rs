//! `sync:from` (reference page section 2.16): the commit log page by page, one value at a time in memory.

use std::io;

use atsign_protocol::answer::MetadataAnswer;
use atsign_protocol::verb::Sync;
use atsign_protocol::{AtError, AtKey, Visibility};
use regex_lite::Regex;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::io::AsyncWrite;

use super::{read, regex};
use crate::atserver::AtServer;
use crate::memory::Lease;
use crate::session::{Answer, Client, Writer};
use crate::store::{Commit, LogPage, LogStart, Operation, Store, sign};

/// Entries read from the log at a time.
const PAGE: usize = 32;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    at_key: &'a str,
    value: Option<String>,
    /// All values are texts.
    metadata: Option<Map<String, Value>>,
    commit_id: i64,
    operation: &'static str,
}

pub(super) async fn sync<S, T>(
    server: &AtServer<S>,
    client: &Client,
    sync: &Sync,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let wanted = match Wanted::of(client, sync) {
        Ok(wanted) => wanted,
        Err(error) => return Ok(Err(error)),
    };
    server.budget.reads_in_bulk();
    writer.push(b"data:[").await?;
    // At least one, or a client that asks for none would never come to the end.
    let mut left = sync.limit.unwrap_or(server.tuning.sync_entries).max(1);
    let (mut after, mut bytes) = (sync.from, 0);
    'pages: loop {
        let page = LogPage { from: LogStart::After(after), limit: PAGE };
        let commits = match server.store.commits(page).await {
            Ok(commits) => commits,
            Err(error) => return Ok(Err(error.into())),
        };
        for commit in commits.iter().filter(|commit| wanted.has(commit)) {
            let (entry, _lease) = match entry(server, client, commit).await {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error) => return Ok(Err(error)),
            };
            // Texts and a number always serialise.
            let json = serde_json::to_vec(&entry).unwrap_or_default();
            if bytes > 0 {
                if bytes + json.len() > server.tuning.sync_bytes {
                    break 'pages;
                }
                writer.push(b",").await?;
            }
            bytes += json.len();
            writer.push(&json).await?;
            left -= 1;
            if left == 0 {
                break 'pages;
            }
        }
        match commits.last() {
            Some(last) if commits.len() == PAGE => after = last.id,
            _ => break,
        }
        tokio::task::yield_now().await;
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

/// The entry of a commit; none of a key that is gone, for its deletion stands further on.
async fn entry<'a, S: Store>(
    server: &AtServer<S>,
    client: &Client,
    commit: &'a Commit,
) -> Result<Option<(Entry<'a>, Option<Lease>)>, AtError> {
    let (record, lease) = match commit.operation {
        Operation::Delete => (None, None),
        _ => match read::skim(server, client.taker(), &commit.key).await? {
            Some(held) if !held.record.metadata.is_expired(server.now()) => (Some(held.record), held.lease),
            _ => return Ok(None),
        },
    };
    let (value, metadata) =
        record.map_or((None, None), |record| (record.value, Some(texts(MetadataAnswer(&record.metadata)))));
    let operation = sign(commit.operation);
    let entry = Entry { at_key: &commit.key, value, metadata, commit_id: commit.id, operation };
    Ok(Some((entry, lease)))
}

/// Metadata with every value as a text.
fn texts(metadata: MetadataAnswer<'_>) -> Map<String, Value> {
    let Ok(Value::Object(fields)) = serde_json::to_value(metadata) else { return Map::new() };
    let text = |value: Value| match value {
        Value::String(text) => Value::String(text),
        other => Value::String(other.to_string()),
    };
    fields.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// Which entries a client gets.
struct Wanted<'a> {
    client: &'a Client,
    regex: Option<Regex>,
    skip_deletes_until: i64,
}

impl<'a> Wanted<'a> {
    fn of(client: &'a Client, sync: &Sync) -> Result<Self, AtError> {
        let regex = sync.regex.as_deref().map(|pattern| regex(pattern, client)).transpose()?;
        Ok(Self { client, regex, skip_deletes_until: sync.skip_deletes_until.unwrap_or(-1) })
    }

    fn has(&self, commit: &Commit) -> bool {
        if commit.operation == Operation::Delete && commit.id <= self.skip_deletes_until {
            return false;
        }
        let matches = self.regex.as_ref().is_none_or(|regex| regex.is_match(&commit.key));
        (matches || every_client_needs(&commit.key)) && self.client.may_read(&commit.key)
    }
}

/// Keys that a regex does not keep out.
fn every_client_needs(key: &str) -> bool {
    let Ok(key) = AtKey::parse(key) else { return false };
    match key.visibility {
        Visibility::Public => !key.cached && !key.entity.contains('.'),
        Visibility::SharedWith(_) => key.entity == "shared_key",
        Visibility::Own => key.entity.starts_with("shared_key."),
        Visibility::Private | Visibility::Local => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_every_client_needs_are_never_kept_out_by_a_regex() {
        for (key, needed) in [
            ("shared_key.bob@alice", true),
            ("@bob:shared_key@alice", true),
            ("public:publickey@alice", true),
            ("public:phone@alice", true),
            ("public:phone.wavi@alice", false),
            ("cached:public:publickey@bob", false),
            ("phone@alice", false),
            ("@bob:phone@alice", false),
        ] {
            assert_eq!(every_client_needs(key), needed, "{key}");
        }
    }
}
