//! What writers were told, and what must therefore be in the store: the checker of every test that hurts a server.
//!
//! Each writer has keys of its own and changes them one after the other, so for each key the history is a line. Value,
//! metadata and the entry in the commit log of one change carry the same number; whatever the store says afterwards must
//! be one change, whole: the last that was acknowledged, or one that was sent after it and got no answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::client::Client;

/// Keys of each writer.
const KEYS: u64 = 8;

/// So many changes of a key, one is a deletion.
const DELETION: u64 = 7;

/// The time to live of change n is n more than this, milliseconds: far longer than any test.
const TTL: u64 = 1_000_000_000_000;

/// One change that was sent.
#[derive(Clone, Copy, Debug)]
struct Change {
    number: u64,
    /// The commit id, where it was acknowledged.
    commit: Option<i64>,
}

impl Change {
    fn deletes(self) -> bool {
        self.number.is_multiple_of(DELETION)
    }
}

/// All changes that were sent, key by key.
#[derive(Debug, Default)]
pub struct History {
    at_sign: String,
    keys: BTreeMap<String, Vec<Change>>,
    next: u64,
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    threads: Vec<JoinHandle<Vec<(String, Change)>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

/// What a check has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Changes that were acknowledged, in the whole history.
    pub acknowledged: usize,
    /// Changes that were sent and got no answer, or an error.
    pub unanswered: usize,
}

impl History {
    /// An empty one.
    pub fn new(at_sign: &str) -> Self {
        Self { at_sign: at_sign.to_owned(), keys: BTreeMap::new(), next: 1 }
    }

    /// Lets each client write until its connection breaks or the load is stopped.
    pub fn load(&mut self, clients: Vec<Client>) -> Load {
        let once = |client| {
            let mut client = Some(client);
            move || client.take().context("its connection broke")
        };
        self.start(Arc::default(), clients.into_iter().map(once))
    }

    /// Lets so many writers write until the load is stopped; one whose connection breaks makes a new one.
    pub fn lasting_load<C>(&mut self, writers: usize, connect: C) -> Load
    where
        C: Fn() -> Result<Client> + Clone + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let again = move || {
            while !asked.load(Ordering::Relaxed) {
                match connect() {
                    Ok(client) => return Ok(client),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
            bail!("the load is stopped")
        };
        self.start(stop, std::iter::repeat_n(again, writers))
    }

    fn start<C>(&mut self, stop: Arc<AtomicBool>, connections: impl Iterator<Item = C>) -> Load
    where
        C: FnMut() -> Result<Client> + Send + 'static,
    {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let first = self.next;
        // Far more than anybody sends meanwhile.
        self.next += 1_000_000;
        let threads = connections
            .enumerate()
            .map(|(writer, connect)| {
                let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
                let at_sign = self.at_sign.clone();
                std::thread::spawn(move || write(connect, writer, &at_sign, first, &stop, &acknowledged))
            })
            .collect();
        Load { threads, stop, acknowledged }
    }

    /// Waits for the writers of a load and takes down what they were told.
    pub fn add(&mut self, load: Load) -> Result<()> {
        for thread in load.threads {
            for (key, change) in thread.join().ok().context("a writer panicked")? {
                self.keys.entry(key).or_default().push(change);
            }
        }
        Ok(())
    }

    /// Holds the store against the history; the error names the first key that is wrong.
    pub fn check(&self, client: &mut Client) -> Result<Checked> {
        let stored = stored(client)?;
        let mut checked = Checked::default();
        let mut by_id = HashMap::new();
        for (key, changes) in &self.keys {
            for change in changes {
                match change.commit {
                    Some(id) => {
                        checked.acknowledged += 1;
                        if let Some(other) = by_id.insert(id, key) {
                            bail!("commit id {id} was given to {key} and to {other}");
                        }
                    }
                    None => checked.unanswered += 1,
                }
            }
            let seen = stored.get(key).copied();
            check_key(changes, seen).with_context(|| format!("{key}: the store has {seen:?}"))?;
        }
        // What was acknowledged later has the higher id, also over restarts.
        for changes in self.keys.values() {
            let ids: Vec<_> = changes.iter().filter_map(|change| change.commit).collect();
            ensure!(ids.is_sorted(), "the commit ids of one key go down: {ids:?}");
        }
        Ok(checked)
    }
}

impl Load {
    /// How many changes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more changes are acknowledged.
    pub fn progress(&self, more: u64) -> Result<()> {
        let (before, deadline) = (self.acknowledged(), Instant::now() + Duration::from_mins(1));
        while self.acknowledged() < before + more {
            ensure!(Instant::now() < deadline, "nothing is acknowledged any more");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets each writer end after its change.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What the store says of a key: the number of the change, and its commit id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Value { number: u64, commit: i64 },
    Deleted { commit: i64 },
}

fn write(
    mut connect: impl FnMut() -> Result<Client>,
    writer: usize,
    at_sign: &str,
    first: u64,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Vec<(String, Change)> {
    let mut sent = Vec::new();
    let mut connection = None;
    for number in first.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut client = match connection.take() {
            Some(client) => client,
            None => match connect() {
                Ok(client) => client,
                Err(_) => break,
            },
        };
        let key = format!("w{writer}k{}{at_sign}", number % KEYS);
        let mut change = Change { number, commit: None };
        let command = if change.deletes() {
            format!("delete:{key}")
        } else {
            format!("update:ttl:{}:{key} {number}", TTL + number)
        };
        let answer = client.request(&command);
        let told = answer.as_deref().unwrap_or_default();
        change.commit = told.strip_prefix("data:").and_then(|id| id.lines().next()?.parse().ok());
        if change.commit.is_some() {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            connection = Some(client);
        }
        sent.push((key, change));
    }
    sent
}

fn check_key(changes: &[Change], stored: Option<Stored>) -> Result<()> {
    let acknowledged = changes.iter().rposition(|change| change.commit.is_some());
    let allowed = &changes[acknowledged.unwrap_or(0)..];
    match stored {
        None => ensure!(acknowledged.is_none(), "what was acknowledged is lost: {:?}", allowed[0]),
        Some(Stored::Value { number, commit }) => {
            let change = allowed.iter().find(|change| change.number == number && !change.deletes());
            let change = change.with_context(|| format!("it should be one of {allowed:?}"))?;
            ensure!(
                change.commit.is_none_or(|id| id == commit),
                "it was acknowledged as {:?}",
                change.commit
            );
        }
        Some(Stored::Deleted { commit }) => ensure!(
            allowed.iter().any(|change| change.deletes() && change.commit.is_none_or(|id| id == commit)),
            "it should be one of {allowed:?}"
        ),
    }
    Ok(())
}

/// The latest change of every key, read page by page from the commit log.
fn stored(client: &mut Client) -> Result<HashMap<String, Stored>> {
    let mut stored = HashMap::new();
    let mut after = -1;
    loop {
        let answer = client.request(&format!("sync:from:{after}:limit:200"))?;
        let json = answer.strip_prefix("data:").and_then(|rest| rest.lines().next());
        let entries: Vec<Value> = serde_json::from_str(json.with_context(|| format!("sync: {answer:?}"))?)?;
        let Some(last) = entries.last().and_then(|entry| entry["commitId"].as_i64()) else {
            return Ok(stored);
        };
        ensure!(last > after, "the commit log goes back from {after} to {last}");
        for entry in &entries {
            let key = entry["atKey"].as_str().context("an entry without a key")?;
            if key.starts_with('w') {
                stored.insert(key.to_owned(), of(entry).with_context(|| entry.to_string())?);
            }
        }
        after = last;
    }
}

/// Reads an entry, all of whose parts must be of one change.
fn of(entry: &Value) -> Result<Stored> {
    let commit = entry["commitId"].as_i64().context("no commit id")?;
    if entry["operation"] == "-" {
        return Ok(Stored::Deleted { commit });
    }
    let number = |text: &Value| text.as_str().and_then(|text| text.parse::<u64>().ok());
    let value = number(&entry["value"]).context("no value")?;
    let ttl = number(&entry["metadata"]["ttl"]).context("no ttl")?;
    ensure!(ttl == TTL + value, "half a change: the value of {value} and the metadata of {}", ttl - TTL);
    Ok(Stored::Value { number: value, commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(changes: &[(u64, Option<i64>)]) -> Vec<Change> {
        changes.iter().map(|(number, commit)| Change { number: *number, commit: *commit }).collect()
    }

    #[test]
    fn the_last_acknowledged_change_or_a_later_one_must_be_there() {
        let changes = sent(&[(1, Some(10)), (2, Some(11)), (3, None), (4, None)]);
        let stored = |number, commit| Some(Stored::Value { number, commit });
        for right in [stored(2, 11), stored(3, 12), stored(4, 13)] {
            assert!(check_key(&changes, right).is_ok(), "{right:?}");
        }
        for wrong in [None, stored(1, 10), stored(2, 10), stored(5, 12), Some(Stored::Deleted { commit: 12 })]
        {
            assert!(check_key(&changes, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_deletion_is_a_change_like_any_other() {
        let changes = sent(&[(6, Some(10)), (7, Some(11))]);
        assert!(check_key(&changes, Some(Stored::Deleted { commit: 11 })).is_ok());
        assert!(check_key(&changes, Some(Stored::Value { number: 6, commit: 10 })).is_err());
        assert!(check_key(&sent(&[(7, None)]), None).is_ok());
    }

    #[test]
    fn half_a_change_is_found() {
        let whole = serde_json::json!({"commitId": 5, "operation": "*", "value": "3",
            "metadata": {"ttl": (TTL + 3).to_string()}});
        assert_eq!(of(&whole).expect("a change"), Stored::Value { number: 3, commit: 5 });
        let mut half = whole;
        half["value"] = "4".into();
        assert!(of(&half).is_err());
    }
}
