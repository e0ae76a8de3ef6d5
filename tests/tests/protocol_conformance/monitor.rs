//! `monitor` (reference page section 2.14).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::network::Network;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

use crate::{data, json, stranger};

/// How long an event may take: statistics come every 15 seconds, so that reading alone never runs out of time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of a monitoring connection.
pub(crate) struct Monitor {
    client: Client,
    read: String,
}

impl Monitor {
    pub(crate) fn start(server: &Secondary, command: &str) -> Result<Self> {
        Self::start_as(server.connect_as_owner()?, command)
    }

    pub(crate) fn start_as(mut client: Client, command: &str) -> Result<Self> {
        client.send(format!("{command}\n").as_bytes())?;
        let mut monitor = Self { client, read: String::new() };
        // Once this is answered the server is listening. What was missed may be told before.
        monitor.client.send(b"noop:0\n")?;
        let mut told = String::new();
        loop {
            let line = monitor.line()?;
            if !line.starts_with("notification: ") {
                assert_eq!(line, "data:ok");
                break;
            }
            told = told + &line + "\n";
        }
        monitor.read.insert_str(0, &told);
        Ok(monitor)
    }

    pub(crate) fn line(&mut self) -> Result<String> {
        while !self.read.contains('\n') {
            self.read.push_str(&self.client.read_some()?);
        }
        let (line, rest) = self.read.split_once('\n').context("a line")?;
        let (line, rest) = (line.to_owned(), rest.to_owned());
        self.read = rest;
        Ok(line)
    }

    /// The next line that does not begin so.
    pub(crate) fn line_but(&mut self, prefix: &str) -> Result<String> {
        let since = Instant::now();
        loop {
            let line = self.line()?;
            if !line.starts_with(prefix) {
                return Ok(line);
            }
            ensure!(since.elapsed() < PATIENCE, "every line began with {prefix:?}, the last: {line:?}");
        }
    }

    fn event(&mut self) -> Result<Value> {
        let line = self.line()?;
        let json = line.strip_prefix("notification: ").with_context(|| format!("the line {line:?}"))?;
        Ok(serde_json::from_str(json)?)
    }

    /// The next event that is no statistics.
    pub(crate) fn notification(&mut self) -> Result<Value> {
        let since = Instant::now();
        loop {
            let event = self.event()?;
            if event["id"] != "-1" {
                return Ok(event);
            }
            ensure!(since.elapsed() < PATIENCE, "statistics came, and nothing else; the last: {event}");
        }
    }
}

#[test]
fn a_stranger_monitors_nothing() -> Result<()> {
    let refused = "error:AT0401-Exception: Failed to execute verb. monitor requires authentication\n@";
    assert_eq!(stranger()?.request("monitor")?, refused);
    assert_eq!(stranger()?.request("monitor:0 .*")?, refused);
    Ok(())
}

#[test]
fn a_regex_that_is_none_is_refused() -> Result<()> {
    assert!(crate::owner()?.request("monitor (")?.starts_with("error:AT0003-"));
    Ok(())
}

#[test]
fn each_change_is_told_as_statistics_unless_they_are_not_wanted() -> Result<()> {
    let server = Secondary::start("@alice")?;
    let mut client = server.connect_as_owner()?;
    let mut monitor = Monitor::start(&server, "monitor .wavi")?;
    let mut strict = Monitor::start(&server, "monitor:strict .wavi")?;
    let id = data(&mut client, "update:x@alice 1")?;
    loop {
        let event = monitor.event()?;
        assert_eq!((&event["id"], &event["key"]), (&"-1".into(), &"statsNotification.@alice".into()));
        assert_eq!((&event["from"], &event["metadata"]), (&"@alice".into(), &Value::Null));
        // The server's own keys may come first.
        if event["value"] == id.as_str() {
            break;
        }
    }
    data(&mut client, "notify:@alice:x.wavi@alice:1")?;
    assert_eq!(strict.event()?["value"], "1");
    Ok(())
}

#[test]
fn missed_and_live_notifications_come_in_order_and_each_once() -> Result<()> {
    let server = Secondary::start("@alice")?;
    let mut client = server.connect_as_owner()?;
    let tell = |client: &mut Client, numbers: std::ops::Range<i32>| -> Result<()> {
        for number in numbers {
            data(client, &format!("notify:@alice:n.wavi@alice:{number}"))?;
        }
        Ok(())
    };
    tell(&mut client, 0..50)?;
    let from = json(&mut client, "notify:list:n.wavi")?[9]["epochMillis"].as_i64().context("a time")?;
    std::thread::scope(|scope| {
        let more = scope.spawn(|| {
            let mut client = server.connect_as_owner()?;
            tell(&mut client, 50..150)
        });
        let mut monitor = server.connect_as_owner()?;
        monitor.send(b"monitor:0 n.wavi\n")?;
        let mut monitor = Monitor { client: monitor, read: String::new() };
        for number in 0..150 {
            assert_eq!(monitor.notification()?["value"], number.to_string());
        }
        ensure!(more.join().is_ok_and(|told| told.is_ok()), "not everything was told");
        let mut late = Monitor::start(&server, &format!("monitor:{from}"))?;
        drop(monitor);
        tell(&mut client, 150..151)?;
        ensure!(late.notification()?["epochMillis"].as_i64() > Some(from), "an older one was told");
        Ok(())
    })
}

#[test]
fn a_notification_of_another_at_sign_is_told_live_and_commands_are_answered_in_between() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let mut monitor = Monitor::start(&bob, "monitor:selfNotifications:multiplexed")?;
    let mut other = Monitor::start(&bob, "monitor carol")?;
    let mut at_alice = alice.connect_as_owner()?;
    let command = "notify:update:sharedKeyEnc:abc:pubKeyCS:d:@bob:phone.wavi@alice:secret";
    let id = data(&mut at_alice, command)?;
    let event = monitor.notification()?;
    assert_eq!((&event["id"], &event["from"]), (&id.as_str().into(), &"@alice".into()));
    assert_eq!((&event["key"], &event["to"]), (&"@bob:phone.wavi@alice".into(), &"@bob".into()));
    assert_eq!((&event["value"], &event["operation"]), (&"secret".into(), &"update".into()));
    assert_eq!(event["metadata"]["sharedKeyEnc"], "abc");
    assert!(event["metadata"].get("ivNonce").is_some_and(Value::is_null));
    // The next line is a whole one again, whatever was answered before it.
    monitor.client.send(b"noop:0\n")?;
    assert_eq!(monitor.line_but("notification: ")?, "data:ok");
    data(&mut at_alice, "notify:@bob:phone.carol@alice:other")?;
    assert_eq!(monitor.notification()?["value"], "other");
    assert_eq!(other.notification()?["value"], "other");
    Ok(())
}
