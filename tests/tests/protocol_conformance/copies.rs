//! Copies of other atSigns' data, and what a change of their public key means (reference page section 3.4).

use anyhow::{Context as _, Result};
use atsign_tests::client::Client;
use atsign_tests::network::Network;
use serde_json::{Value, json};

use crate::apkam::approved;
use crate::monitor::Monitor;
use crate::notify::eventually;
use crate::{data, json};

/// The names of what is stored and matches.
fn names(client: &mut Client, regex: &str) -> Result<Vec<String>> {
    Ok(serde_json::from_value(json(client, &format!("scan {regex}"))?)?)
}

#[test]
fn another_public_key_puts_the_shared_key_aside_and_tells_all_clients() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let (mut at_alice, mut at_bob) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    let device = approved(&bob, "app", &json!({"wavi": "r"}))?;
    let mut monitor = Monitor::start_as(device.connect(&bob)?, "monitor")?;
    data(&mut at_alice, "update:public:publickey@alice first")?;
    data(&mut at_bob, "update:shared_key.alice@bob secret")?;
    assert_eq!(data(&mut at_bob, "plookup:publickey@alice")?, "first");
    assert_eq!(data(&mut at_bob, "plookup:bypassCache:true:publickey@alice")?, "first");
    assert_eq!(data(&mut at_bob, "llookup:shared_key.alice@bob")?, "secret", "nothing has changed");

    data(&mut at_alice, "update:public:publickey@alice second")?;
    assert_eq!(data(&mut at_bob, "plookup:bypassCache:true:publickey@alice")?, "second");
    assert!(at_bob.request("llookup:shared_key.alice@bob")?.starts_with("error:AT0015-"));
    let aside = names(&mut at_bob, "shared_key.alice.until")?;
    assert_eq!(data(&mut at_bob, &format!("llookup:{}", aside[0]))?, "secret");

    let expected =
        json!({"category": "atProtocol", "name": "atsign_pk_changed", "data": {"atSign": "@alice"}});
    let event = monitor.notification()?;
    let name = event["key"].as_str().and_then(|key| key.strip_prefix("@bob:")).context("a key")?;
    assert!(name.ends_with(".events.__atserver@bob"), "{name}");
    assert_eq!(serde_json::from_str::<Value>(event["value"].as_str().context("a text")?)?, expected);
    let mut client = device.connect(&bob)?;
    assert_eq!(json(&mut client, &format!("llookup:{name}"))?, expected, "for those who were not there");
    assert!(client.request(&format!("delete:{name}"))?.starts_with("error:AT0009-"));
    Ok(())
}

#[test]
fn a_shared_key_of_that_name_is_no_public_key() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let (mut at_alice, mut at_bob) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    data(&mut at_bob, "update:shared_key.alice@bob secret")?;
    for value in ["first", "second"] {
        data(&mut at_alice, &format!("notify:update:ttr:-1:@bob:publickey@alice:{value}"))?;
        let copy = "llookup:cached:@bob:publickey@alice";
        eventually(&mut at_bob, copy, |answer| answer.starts_with(&format!("data:{value}")))?;
    }
    assert_eq!(data(&mut at_bob, "llookup:shared_key.alice@bob")?, "secret");
    Ok(())
}
