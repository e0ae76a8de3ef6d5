//! `sync:from` (reference page section 2.16).

use anyhow::{Context as _, Result};
use atsign_tests::secondary::Secondary;
use serde_json::Value;

use crate::{data, json, owner};

fn ids(entries: &Value) -> Vec<i64> {
    entries.as_array().into_iter().flatten().filter_map(|entry| entry["commitId"].as_i64()).collect()
}

#[test]
fn what_changed_comes_in_order_with_texts_for_metadata() -> Result<()> {
    let server = Secondary::start("@sync")?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(data(&mut client, "sync:from:-1:limit:10")?, "[]");
    data(&mut client, "update:ttr:-1:ccd:true:isEncrypted:true:@bob:a.wavi@sync \"quoted\"")?;
    data(&mut client, "update:b.buzz@sync 1")?;
    data(&mut client, "delete:gone.buzz@sync")?;
    let entries = json(&mut client, "sync:from:-1:limit:10")?;
    assert_eq!(ids(&entries), [0, 1, 2]);
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
    data(&mut client, "update:meta:b.buzz@sync:ttl:100000")?;
    let entries = json(&mut client, "sync:from:0")?;
    assert_eq!(ids(&entries), [2, 3]);
    assert_eq!(entries[1]["operation"], "#");
    Ok(())
}

#[test]
fn limit_regex_and_deletes_choose_the_entries() -> Result<()> {
    let server = Secondary::start("@sync")?;
    let mut client = server.connect_as_owner()?;
    for key in ["a.wavi", "b.buzz", "public:publickey", "shared_key.bob", "c.wavi"] {
        data(&mut client, &format!("update:{key}@sync 1"))?;
    }
    data(&mut client, "delete:d.wavi@sync")?;
    for (command, expected) in [
        ("sync:from:-1:limit:2", &[0_i64, 1] as &[i64]),
        ("sync:from:1:limit:2", &[2, 3]),
        ("sync:from:-1:limit:0", &[0]),
        ("sync:from:5", &[]),
        ("sync:from:-1:limit:100:wavi", &[0, 2, 3, 4, 5]),
        ("sync:from:-1:limit:100:skipDeletesUntil:5", &[0, 1, 2, 3, 4]),
        ("sync:from:-1:limit:100:skipDeletesUntil:4", &[0, 1, 2, 3, 4, 5]),
        ("sync:from:-1:limit:100:skipDeletesUntil:5:^b", &[1, 2, 3]),
    ] {
        assert_eq!(ids(&json(&mut client, command)?), expected, "{command}");
    }
    Ok(())
}

#[test]
fn an_answer_has_five_mebibytes_at_most_but_one_entry_at_least() -> Result<()> {
    let server = Secondary::start("@sync")?;
    let mut client = server.connect_as_owner()?;
    for (key, size) in [("small", 10), ("large", 6_000_000), ("last", 10)] {
        data(&mut client, &format!("update:{key}.wavi@sync {}", "v".repeat(size)))?;
    }
    assert_eq!(ids(&json(&mut client, "sync:from:-1:limit:10")?), [0]);
    assert_eq!(ids(&json(&mut client, "sync:from:0:limit:10")?), [1]);
    assert_eq!(ids(&json(&mut client, "sync:from:1:limit:10")?), [2]);
    Ok(())
}

#[test]
fn the_whole_of_a_long_log_is_reached_page_by_page() -> Result<()> {
    let server = Secondary::start("@sync")?;
    let mut client = server.connect_as_owner()?;
    for number in 0..350 {
        data(&mut client, &format!("update:key{number}.wavi@sync 1"))?;
    }
    assert_eq!(ids(&json(&mut client, "sync:from:-1:limit:1000")?).len(), 350);
    assert_eq!(ids(&json(&mut client, "sync:from:-1:limit:1000:key349")?), [349]);
    assert_eq!(ids(&json(&mut client, "sync:from:-1")?).len(), 25);
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
