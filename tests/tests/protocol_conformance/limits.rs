//! What a tier allows: `limits.json`, taken up while the server runs. Only growth is refused.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use atsign_tests::admin;
use atsign_tests::client::Client;
use atsign_tests::cluster::eventually;
use atsign_tests::secondary::Secondary;
use serde_json::{Value, json};

use crate::data;

/// The server looks at the file every five seconds.
const TAKEN_UP: Duration = Duration::from_mins(1);

/// A server of @alice with a folder that limits stand in.
struct Limited {
    server: Secondary,
    folder: PathBuf,
    _kept: tempfile::TempDir,
}

impl Limited {
    fn start(limits: &Value) -> Result<Self> {
        let kept = tempfile::tempdir()?;
        let folder = kept.path().to_owned();
        std::fs::write(folder.join("limits.json"), limits.to_string())?;
        let folder_flag = folder.to_str().unwrap_or_default();
        let server = Secondary::start_with(
            "@alice",
            &[
                "--directory",
                "localhost:1",
                "--limits-dir",
                folder_flag,
                "--client-certificate-required",
                "false",
            ],
        )?;
        Ok(Self { server, folder, _kept: kept })
    }

    /// Puts other limits into place, as a mounted ConfigMap changes.
    fn change(&self, limits: &Value) -> Result<()> {
        std::fs::write(self.folder.join("new"), limits.to_string())?;
        Ok(std::fs::rename(self.folder.join("new"), self.folder.join("limits.json"))?)
    }

    fn usage(&self) -> Result<Value> {
        admin::usage(self.server.admin_port)
    }
}

/// A key that is not there must not be stored; where it is, the limit is not taken up yet, and it goes again.
fn refuses_new(client: &mut Client, error: &str) -> Result<()> {
    let refused = refused(client, "update:new.limits@alice 1", error);
    if refused.is_err() {
        data(client, "delete:new.limits@alice")?;
    }
    refused
}

/// Sends a command that must be refused with this text, and keeps the connection.
fn refused(client: &mut Client, command: &str, error: &str) -> Result<()> {
    let answer = client.request(command)?;
    ensure!(
        answer.contains(error),
        "{} answered {answer:?}, not {error:?}",
        &command[..command.len().min(60)]
    );
    Ok(())
}

#[test]
fn each_limit_refuses_growth_and_says_its_name_and_value_and_what_to_do() -> Result<()> {
    let limited = Limited::start(&json!({"valueBytes": 10}))?;
    let mut client = limited.server.connect_as_owner()?;
    data(&mut client, "update:short.limits@alice 1234567890")?;
    refused(
        &mut client,
        "update:long.limits@alice 12345678901",
        "error:AT0005-Buffer limit exceeded : the value has 11 bytes and the limit valueBytes is 10; store less under one key, or choose a larger tier",
    )?;
    // The CRAM secret, the key above, and three of signing, which the server makes while it serves already.
    let keys = 5;
    eventually("the server's own keys", TAKEN_UP, || {
        ensure!(limited.usage()?["keys"] == keys, "{}", limited.usage()?["keys"]);
        Ok(())
    })?;
    limited.change(&json!({"keys": keys + 1}))?;
    let full = format!(
        "error:AT0032-Illegal state : {} keys are stored and the limit keys is {}; delete some, or choose a larger tier",
        keys + 1,
        keys + 1
    );
    eventually("the limit of keys", TAKEN_UP, || {
        data(&mut client, "update:one.limits@alice and a value that was too long before")?;
        refuses_new(&mut client, &full)
    })?;
    refused(&mut client, "update:meta:two.limits@alice:ttl:1000", "the limit keys is")?;

    limited.change(&json!({"connections": 1}))?;
    eventually("the limit of connections", TAKEN_UP, || {
        // Who is silent for long makes room for others.
        data(&mut client, "noop:0")?;
        let answer = limited.server.connect().and_then(|mut another| another.request("info:brief"));
        let said = format!("{answer:?}");
        ensure!(
            said.contains("error:AT0012-Inbound connection limit exceeded : the limit connections is 1;"),
            "{said}"
        );
        Ok(())
    })?;
    data(&mut client, "update:two.limits@alice and who is there already stays")?;
    Ok(())
}

#[test]
fn a_store_that_is_too_large_is_read_and_made_smaller_and_never_larger() -> Result<()> {
    let limited = Limited::start(&json!({}))?;
    let mut client = limited.server.connect_as_owner()?;
    let value = "v".repeat(20_000);
    for number in 0..20 {
        data(&mut client, &format!("update:big{number}.limits@alice {value}"))?;
    }
    limited.change(&json!({"storageBytes": 200_000, "keys": 1, "valueBytes": 10}))?;
    eventually("the limits", TAKEN_UP, || refuses_new(&mut client, "the limit keys is 1"))?;

    ensure!(data(&mut client, "llookup:big3.limits@alice")? == value, "reading goes on");
    ensure!(data(&mut client, "sync:from:-1:limit:5")?.contains("big0.limits"), "so does sync");
    refused(&mut client, &format!("update:big0.limits@alice {value}+"), "the limit valueBytes is 10")?;
    data(&mut client, &format!("update:big0.limits@alice {value}"))?;
    data(&mut client, &format!("update:big0.limits@alice {}", &value[..19_000]))?;
    data(&mut client, "update:meta:big0.limits@alice:ttl:10000000")?;
    limited.change(&json!({"storageBytes": 200_000}))?;
    eventually("the limit of the store alone", TAKEN_UP, || {
        refused(
            &mut client,
            "update:new.limits@alice 1",
            "more are needed, and the limit storageBytes is 200000",
        )
    })?;
    refused(&mut client, "delete:never.limits@alice", "the limit storageBytes is 200000")?;
    refused(&mut client, "notify:update:@alice:self.limits@alice:1", "the limit storageBytes is 200000")?;

    let over = limited.usage()?["storeBytes"].as_u64().unwrap_or_default();
    ensure!(over > 200_000, "{over} bytes are stored");
    for number in 0..18 {
        data(&mut client, &format!("delete:big{number}.limits@alice"))?;
    }
    let left = limited.usage()?["storeBytes"].as_u64().unwrap_or_default();
    ensure!(left < 200_000, "{left} bytes are left of {over}: what was deleted counts no longer");
    data(&mut client, "update:new.limits@alice there is room again")?;
    ensure!(data(&mut client, "llookup:big19.limits@alice")? == value, "nothing was lost");
    Ok(())
}

#[test]
fn of_a_batch_that_passes_a_limit_what_fits_is_stored_and_each_command_is_answered() -> Result<()> {
    let limited = Limited::start(&json!({"valueBytes": 5}))?;
    let mut client = limited.server.connect_as_owner()?;
    let commands = json!([
        {"id": 1, "command": "update:a.limits@alice 12345"},
        {"id": 2, "command": "update:b.limits@alice 123456"},
        {"id": 3, "command": "update:c.limits@alice 1"},
        {"id": 4, "command": "delete:a.limits@alice"},
    ]);
    let answers = crate::json(&mut client, &format!("batch:{commands}"))?;
    assert_eq!(
        answers[1]["response"],
        json!({"error_code": "AT0005", "error_message": "Buffer limit exceeded : the value has 6 bytes and the limit valueBytes is 5; store less under one key, or choose a larger tier"})
    );
    for index in [0, 2, 3] {
        assert!(answers[index]["response"]["data"].is_string(), "{answers}");
    }
    assert!(client.request("llookup:b.limits@alice")?.starts_with("error:AT0015-"));
    assert_eq!(data(&mut client, "llookup:c.limits@alice")?, "1");
    Ok(())
}

#[test]
fn notifications_of_a_day_are_counted_over_restarts_and_what_would_tell_one_more_is_not_done() -> Result<()> {
    let mut limited = Limited::start(&json!({"notificationsPerDay": 3}))?;
    let mut client = limited.server.connect_as_owner()?;
    data(&mut client, "notify:update:@bob:told.limits@alice:1")?;
    data(&mut client, "update:@bob:shared.limits@alice 2")?;
    // What one tells oneself is not sent.
    data(&mut client, "notify:update:@alice:told.limits@alice:1")?;
    limited.server.restart()?;
    assert_eq!(limited.usage()?["sentToday"], 2);
    let mut client = limited.server.connect_as_owner()?;
    data(&mut client, "notify:update:@bob:told.limits@alice:3")?;
    let full = "error:AT0032-Illegal state : 3 notifications were sent today and the limit notificationsPerDay is 3; wait until midnight UTC, or choose a larger tier";
    refused(&mut client, "notify:update:@bob:told.limits@alice:4", full)?;
    refused(&mut client, "update:@bob:another.limits@alice 4", full)?;
    assert!(
        client.request("llookup:@bob:another.limits@alice")?.starts_with("error:AT0015-"),
        "nothing is half done"
    );
    data(&mut client, "update:own.limits@alice what is told nobody is stored")?;
    data(&mut client, "delete:@bob:shared.limits@alice")?;
    assert_eq!(limited.usage()?["sentToday"], 4, "a deletion is told all the same");
    Ok(())
}
