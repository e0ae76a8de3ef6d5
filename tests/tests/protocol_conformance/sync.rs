//! `sync:from` (reference page section 2.16).

use std::time::Duration;

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use atsign_tests::cluster::eventually;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

use crate::{data, json, owner};

/// A server's log from the test's own first change on: ids are counted from there.
struct Log {
    client: Client,
    first: i64,
    _server: Secondary,
}

impl Log {
    /// The server's own signing keys are made while it serves already; they come before the test's changes.
    fn start() -> Result<Self> {
        let server = Secondary::start("@sync")?;
        let mut client = server.connect_as_owner()?;
        for key in ["public:signing_publickey@sync", "@sync:signing_privatekey@sync"] {
            eventually("the signing keys are stored", Duration::from_mins(1), || {
                data(&mut client, &format!("llookup:{key}"))
            })?;
        }
        let last: Value = serde_json::from_str(&data(&mut client, "stats:3")?)?;
        let last: i64 = last[0]["value"].as_str().context("the last commit id")?.parse()?;
        Ok(Self { client, first: last + 1, _server: server })
    }

    /// `sync:from` behind an id, with what else the command says.
    fn sync(&mut self, after: i64, rest: &str) -> Result<Value> {
        json(&mut self.client, &format!("sync:from:{}{rest}", self.first + after))
    }

    fn ids(&self, entries: &Value) -> Vec<i64> {
        let ids = entries.as_array().into_iter().flatten().filter_map(|entry| entry["commitId"].as_i64());
        ids.map(|id| id - self.first).collect()
    }
}

#[test]
fn what_changed_comes_in_order_with_texts_for_metadata() -> Result<()> {
    let mut log = Log::start()?;
    assert_eq!(log.sync(-1, ":limit:10")?, serde_json::json!([]));
    data(&mut log.client, "update:ttr:-1:ccd:true:isEncrypted:true:@bob:a.wavi@sync \"quoted\"")?;
    data(&mut log.client, "update:b.buzz@sync 1")?;
    data(&mut log.client, "delete:gone.buzz@sync")?;
    let entries = log.sync(-1, ":limit:10")?;
    assert_eq!(log.ids(&entries), [0, 1, 2]);
    let first = &entries[0];
    assert_eq!(
        (first["atKey"].as_str(), first["value"].as_str()),
        (Some("@bob:a.wavi@sync"), Some("\"quoted\""))
    );
    assert_eq!(first["operation"], "*");
    for (field, value) in [("ttr", "-1"), ("ccd", "true"), ("isEncrypted", "true"), ("version", "0")] {
        assert_eq!(first["metadata"][field], value, "{field}");
    }
    let created = first["metadata"]["createdAt"].as_str().context("createdAt")?;
    assert!(created.ends_with('Z') && created.len() == 24, "{created}");
    let gone = &entries[2];
    assert_eq!(gone["operation"], "-");
    assert!(gone["value"].is_null() && gone["metadata"].is_null(), "{gone}");

    // A second change leaves one entry of the key, the latest.
    data(&mut log.client, "update:meta:b.buzz@sync:ttl:100000")?;
    let entries = log.sync(0, "")?;
    assert_eq!(log.ids(&entries), [2, 3]);
    assert_eq!(entries[1]["operation"], "#");
    Ok(())
}

#[test]
fn limit_regex_and_deletes_choose_the_entries() -> Result<()> {
    let mut log = Log::start()?;
    for key in ["a.wavi", "b.buzz", "public:publickey", "shared_key.bob", "c.wavi"] {
        data(&mut log.client, &format!("update:{key}@sync 1"))?;
    }
    data(&mut log.client, "delete:d.wavi@sync")?;
    let until = |id: i64| format!(":limit:100:skipDeletesUntil:{}", log.first + id);
    for (after, rest, expected) in [
        (-1, ":limit:2".to_owned(), &[0_i64, 1] as &[i64]),
        (1, ":limit:2".to_owned(), &[2, 3]),
        (-1, ":limit:0".to_owned(), &[0]),
        (5, String::new(), &[]),
        (-1, ":limit:100:wavi".to_owned(), &[0, 2, 3, 4, 5]),
        (-1, until(5), &[0, 1, 2, 3, 4]),
        (-1, until(4), &[0, 1, 2, 3, 4, 5]),
        (-1, until(5) + ":^b", &[1, 2, 3]),
    ] {
        let entries = log.sync(after, &rest)?;
        assert_eq!(log.ids(&entries), expected, "{after}{rest}");
    }
    Ok(())
}

#[test]
fn an_answer_has_five_mebibytes_at_most_but_one_entry_at_least() -> Result<()> {
    let mut log = Log::start()?;
    for (key, size) in [("small", 10), ("large", 6_000_000), ("last", 10)] {
        data(&mut log.client, &format!("update:{key}.wavi@sync {}", "v".repeat(size)))?;
    }
    let entries = log.sync(-1, ":limit:10")?;
    assert_eq!(log.ids(&entries), [0]);
    let entries = log.sync(0, ":limit:10")?;
    assert_eq!(log.ids(&entries), [1]);
    let entries = log.sync(1, ":limit:10")?;
    assert_eq!(log.ids(&entries), [2]);
    Ok(())
}

#[test]
fn the_whole_of_a_long_log_is_reached_page_by_page() -> Result<()> {
    let mut log = Log::start()?;
    for number in 0..350 {
        data(&mut log.client, &format!("update:key{number}.wavi@sync 1"))?;
    }
    let entries = log.sync(-1, ":limit:1000")?;
    assert_eq!(log.ids(&entries).len(), 350);
    let entries = log.sync(-1, ":limit:1000:key349")?;
    assert_eq!(log.ids(&entries), [349]);
    let entries = log.sync(-1, "")?;
    assert_eq!(log.ids(&entries).len(), 25);
    Ok(())
}

#[test]
fn what_is_no_sync_is_refused() -> Result<()> {
    let mut client = owner()?;
    for (command, error) in [
        ("sync:5", "error:AT0003-"),
        ("sync:from:-2", "error:AT0003-"),
        ("sync:from:", "error:AT0003-"),
        ("sync:from:1:limit:x", "error:AT0003-"),
        ("sync:from:1:limit:5:(", "error:AT0003-"),
    ] {
        assert!(client.request(command)?.starts_with(error), "{command}");
    }
    let refused = crate::stranger()?.request("sync:from:-1")?;
    assert_eq!(refused, "error:AT0401-Exception: Command cannot be executed without auth\n@");
    Ok(())
}
