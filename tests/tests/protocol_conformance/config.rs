//! `config` (reference page section 2.18): the block list, and the settings of testing mode.

use std::time::{Duration, Instant};

use anyhow::Result;
use atsign_tests::client::Client;
use atsign_tests::network::Network;
use atsign_tests::secondary::Secondary;
use serde_json::json;

use crate::apkam::approved;
use crate::notify::eventually;
use crate::{data, json, owner};

#[test]
fn who_is_blocked_cannot_begin_a_session_until_he_is_let_in_again() -> Result<()> {
    let server = Secondary::start("@conf")?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(data(&mut client, "config:block:show")?, "null");
    assert_eq!(data(&mut client, "config:block:remove:@bob")?, "null");
    assert_eq!(data(&mut client, "config:block:add:@bob @colin @conf")?, "success");
    assert_eq!(data(&mut client, "config:block:add:@bob")?, "success");
    assert_eq!(data(&mut client, "config:block:show")?, r#"["@bob","@colin"]"#);

    let mut bob = server.connect()?;
    bob.send(b"from:@Bob\n")?;
    assert_eq!(bob.rest()?, "error:AT0013-Exception: Unable to connect\n@");

    assert_eq!(data(&mut client, "config:block:remove:@bob @nobody")?, "success");
    assert_eq!(data(&mut client, "config:block:show")?, r#"["@colin"]"#);
    assert!(!server.connect()?.request("from:@bob")?.starts_with("error:AT0013"));
    assert_eq!(data(&mut client, "config:block:remove:@colin")?, "success");
    assert_eq!(data(&mut client, "config:block:show")?, "null");
    Ok(())
}

#[test]
fn a_server_that_was_let_in_is_sent_away_when_its_atsign_is_blocked() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let (mut at_alice, mut at_bob) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    data(&mut at_alice, "update:@bob:phone.wavi@alice 1")?;
    // The connection that this opens is kept for the next.
    assert_eq!(data(&mut at_bob, "lookup:phone.wavi@alice")?, "1");
    assert_eq!(data(&mut at_alice, "config:block:add:@bob")?, "success");
    let refused = at_bob.request("lookup:phone.wavi@alice")?;
    assert!(refused.starts_with("error:") && refused.contains("Unable to connect"), "{refused}");
    data(&mut at_bob, "notify:@alice:hello.wavi@bob:1")?;
    data(&mut at_bob, "notify:@alice:hello.wavi@bob:2")?;
    assert_eq!(data(&mut at_alice, "config:block:remove:@bob")?, "success");
    let arrived = |answer: &str| answer.contains(r#""value":"2""#);
    eventually(&mut at_alice, "notify:list:hello", arrived)?;
    Ok(())
}

#[test]
fn the_block_list_is_for_the_owner_and_for_enrollments_with_everything() -> Result<()> {
    let server = Secondary::start("@conf")?;
    for (namespaces, may) in [
        (json!({"*": "rw", "__manage": "rw"}), true),
        (json!({"*": "rw"}), false),
        (json!({"__manage": "rw"}), false),
    ] {
        let device = approved(&server, &format!("app of {namespaces}"), &namespaces)?;
        let mut client = device.connect(&server)?;
        for command in ["config:block:add:@bob", "config:block:show", "config:block:remove:@bob"] {
            let answer = client.request(command)?;
            assert!(
                answer.starts_with(if may { "data:" } else { "error:AT0009-" }),
                "{namespaces}: {answer}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_notification_is_tried_as_often_as_it_was_said() -> Result<()> {
    let network = Network::start()?;
    let alice = network.join_with("@alice", &["--testing-mode"])?;
    let bob = network.join("@bob")?;
    bob.signal("KILL")?;
    let mut at_alice = alice.connect_as_owner()?;
    assert_eq!(data(&mut at_alice, "config:set:maxNotificationRetries=2")?, "ok");
    let id = data(&mut at_alice, "notify:@bob:phone.wavi@alice:1")?;
    eventually(&mut at_alice, &format!("notify:status:{id}"), |answer| answer.starts_with("data:errored"))?;
    assert_eq!(json(&mut at_alice, &format!("notify:fetch:{id}"))?["retryCount"], "2");
    Ok(())
}

#[test]
fn copies_are_refreshed_when_a_test_says_so() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join_with("@bob", &["--testing-mode"])?);
    let (mut at_alice, mut at_bob) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    data(&mut at_alice, "update:ttr:1:public:city.wavi@alice Paris")?;
    assert_eq!(data(&mut at_bob, "plookup:city.wavi@alice")?, "Paris");
    data(&mut at_alice, "update:ttr:1:public:city.wavi@alice Rome")?;
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let copy = "llookup:cached:public:city.wavi@alice";
    assert_eq!(data(&mut at_bob, copy)?, "Paris");
    assert_eq!(data(&mut at_bob, "config:set:doCacheRefreshNow=true")?, "ok");
    eventually(&mut at_bob, copy, |answer| answer.starts_with("data:Rome"))?;
    Ok(())
}

#[test]
fn what_is_no_configuration_is_refused() -> Result<()> {
    let mut client = owner()?;
    for (command, error) in [
        ("config:", "error:AT0003-"),
        ("config:block:add:", "error:AT0003-"),
        ("config:block:add:@@kevin", "error:AT0003-"),
        ("config:block:list", "error:AT0003-"),
        ("config:print:nothing", "error:AT0011-"),
    ] {
        assert!(client.request(command)?.starts_with(error), "{command}");
    }
    assert!(crate::stranger()?.request("config:block:show")?.starts_with("error:AT0401-"));
    Ok(())
}

#[test]
fn settings_change_in_testing_mode_only() -> Result<()> {
    let mut client = owner()?;
    for command in ["config:set:autoNotify=false", "config:reset:autoNotify", "config:print:autoNotify"] {
        assert_eq!(data(&mut client, command)?, "testing mode disabled by default", "{command}");
    }

    let server = Secondary::start_with("@conf", &["--testing-mode"])?;
    let mut client = server.connect_as_owner()?;
    for (command, answer) in [
        ("config:print:autoNotify", "true"),
        ("config:set:autoNotify=false", "ok"),
        ("config:print:autoNotify", "false"),
        ("config:reset:autoNotify", "ok"),
        ("config:print:autoNotify", "true"),
        ("config:print:inboundMaxLimit", "200"),
        ("config:set:inboundMaxLimit=1", "ok"),
        ("config:print:inboundMaxLimit", "1"),
    ] {
        assert_eq!(data(&mut client, command)?, answer, "{command}");
    }
    assert!(server.connect().is_err(), "a second connection is one too many");
    assert_eq!(data(&mut client, "config:reset:inboundMaxLimit")?, "ok");
    server.connect()?;
    Ok(())
}

#[test]
fn what_is_shared_while_auto_notify_is_off_is_told_to_nobody() -> Result<()> {
    let server = Secondary::start_with("@conf", &["--testing-mode", "--directory", "localhost:1"])?;
    let mut client = server.connect_as_owner()?;
    let sent = |client: &mut Client| -> Result<String> { client.request("stats:11") };
    data(&mut client, "config:set:autoNotify=false")?;
    data(&mut client, "update:@bob:quiet@conf 1")?;
    data(&mut client, "delete:@bob:quiet@conf")?;
    assert!(sent(&mut client)?.contains(r#"\"sent\":0"#), "{}", sent(&mut client)?);
    data(&mut client, "config:reset:autoNotify")?;
    data(&mut client, "update:@bob:loud@conf 1")?;
    assert!(sent(&mut client)?.contains(r#"\"sent\":1"#), "{}", sent(&mut client)?);
    Ok(())
}

#[test]
fn a_reset_gives_back_what_the_server_was_started_with() -> Result<()> {
    let server = Secondary::start_with("@conf", &["--testing-mode", "--max-connections", "7"])?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(data(&mut client, "config:print:inboundMaxLimit")?, "7");
    data(&mut client, "config:set:inboundMaxLimit=3")?;
    data(&mut client, "config:reset:inboundMaxLimit")?;
    assert_eq!(data(&mut client, "config:print:inboundMaxLimit")?, "7");
    let others: Vec<_> = (0..6).map(|_| server.connect()).collect::<Result<_>>()?;
    assert!(server.connect().is_err(), "{} connections and another are one too many", others.len());
    Ok(())
}

#[test]
fn certificates_are_looked_at_when_a_client_says_so() -> Result<()> {
    for setting in ["checkCertificateReload", "shouldReloadCertificates"] {
        let server = Secondary::start_with("@conf", &["--testing-mode"])?;
        let mut client = server.connect_as_owner()?;
        let before = data(&mut client, "info:mtls")?;
        server.renew_certificate()?;
        data(&mut client, &format!("config:set:{setting}=true"))?;
        assert_ne!(data(&mut client, "info:mtls")?, before, "{setting}");
    }
    Ok(())
}

#[test]
fn logs_are_compacted_as_often_as_a_client_says() -> Result<()> {
    let server = Secondary::start_with("@conf", &["--testing-mode"])?;
    let mut client = server.connect_as_owner()?;
    for command in ["update:a@conf 1", "update:a@conf 2", "update:b@conf 1"] {
        data(&mut client, command)?;
    }
    for log in ["commitLog", "accessLog", "notificationKeyStore"] {
        data(&mut client, &format!("config:set:{log}CompactionFrequencyMins=1"))?;
    }
    let begun = Instant::now();
    while client.request("stats:12,13,14")?.contains(r#""{}""#) {
        assert!(begun.elapsed() < Duration::from_mins(5), "{}", client.request("stats:12,13,14")?);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(begun.elapsed() > Duration::from_secs(55), "{:?}", begun.elapsed());
    let told = client.request("stats:12")?;
    let entries = r#"\"preCompactionEntriesCount\":\"4\",\"postCompactionEntriesCount\":\"4\",\"deletedKeysCount\":\"0\""#;
    assert!(told.contains(entries), "{told}");
    Ok(())
}
