//! `notify` and what belongs to it (reference page sections 2.12, 2.13 and 3.4).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atsign_tests::client::Client;
use atsign_tests::network::Network;
use serde_json::Value;

use crate::{data, json, owner, stranger};

/// Waits until a command answers what is expected.
pub(crate) fn eventually(
    client: &mut Client,
    command: &str,
    expected: impl Fn(&str) -> bool,
) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = client.request(command)?;
        if expected(&answer) {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "{command} still answers {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn delivered(client: &mut Client, id: &str) -> Result<()> {
    eventually(client, &format!("notify:status:{id}"), |answer| answer.starts_with("data:delivered"))
        .map(drop)
}

#[test]
fn strangers_tell_nothing_and_learn_nothing() -> Result<()> {
    let mut client = stranger()?;
    let refused = "error:AT0401-Exception: Notify command cannot be executed without authentication\n@";
    assert_eq!(client.request("notify:@alice:x.wavi@bob")?, refused);
    assert_eq!(client.request("notify:all:@alice:x.wavi@bob")?, refused);
    assert_eq!(client.request("notify:list")?, "data:null\n@");
    assert!(client.request("notify:fetch:1")?.starts_with("error:AT0401-"));
    assert!(client.request("notify:remove:1")?.starts_with("error:AT0401-"));
    Ok(())
}

#[test]
fn a_notification_to_oneself_is_there_at_once() -> Result<()> {
    let mut client = owner()?;
    let id = data(&mut client, "notify:id:self-1:ttln:60000:@alice:note.selfies@alice:hello: you")?;
    assert_eq!(id, "self-1");
    assert_eq!(data(&mut client, "notify:status:self-1")?, "delivered");
    let list = json(&mut client, "notify:list:selfies")?;
    assert_eq!(list[0]["key"], "@alice:note.selfies@alice");
    assert_eq!((&list[0]["value"], &list[0]["isEncrypted"]), (&"hello: you".into(), &true.into()));
    assert_eq!(list[0]["messageType"], "MessageType.key");
    let all = json(&mut client, "notify:fetch:self-1")?;
    assert_eq!(all["notificationStatus"], "NotificationStatus.delivered");
    assert_eq!((&all["type"], &all["depth"]), (&"NotificationType.received".into(), &"1".into()));
    assert_eq!(data(&mut client, "notify:remove:self-1")?, "success");
    assert_eq!(data(&mut client, "notify:status:self-1")?, "null");
    assert_eq!(
        json(&mut client, "notify:fetch:self-1")?,
        serde_json::json!({"id": "self-1", "notificationStatus": "NotificationStatus.expired"})
    );
    assert_eq!(data(&mut client, "notify:remove:self-1")?, "success");
    Ok(())
}

#[test]
fn a_list_ends_with_its_last_day() -> Result<()> {
    let mut client = owner()?;
    data(&mut client, "notify:@alice:dated.calendar@alice")?;
    assert_eq!(json(&mut client, "notify:list:2020-01-01:calendar")?.as_array().map(Vec::len), Some(1));
    assert_eq!(data(&mut client, "notify:list:2020-01-01:2020-01-02:calendar")?, "null");
    assert!(client.request("notify:list:2020-01-02:2020-01-01")?.starts_with("error:AT0022-"));
    Ok(())
}

#[test]
fn what_is_not_the_owners_to_tell_is_refused() -> Result<()> {
    let mut client = owner()?;
    assert!(client.request("notify:@bob:x.wavi@carol:1")?.starts_with("error:AT0009-"));
    assert!(client.request("notify:strategy:latest:@bob:x.wavi@alice")?.starts_with("error:AT0003-"));
    assert!(client.request("notify:@bob")?.starts_with("error:AT0003-"));
    Ok(())
}

#[test]
fn a_notification_arrives_and_leaves_a_copy_that_follows_its_key() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let (mut at_alice, mut at_bob) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    let command = "notify:update:ttr:-1:ccd:True:isEncrypted:true:ivNonce:q1==:@bob:phone.wavi@alice:secret";
    let id = data(&mut at_alice, command)?;
    delivered(&mut at_alice, &id)?;
    assert_eq!(data(&mut at_bob, "llookup:cached:@bob:phone.wavi@alice")?, "secret");
    assert_eq!(json(&mut at_bob, "llookup:meta:cached:@bob:phone.wavi@alice")?["ivNonce"], "q1==");
    let listed = json(&mut at_bob, "notify:list:phone")?;
    assert_eq!((&listed[0]["id"], &listed[0]["from"]), (&id.as_str().into(), &"@alice".into()));
    assert_eq!(listed[0]["metadata"]["ivNonce"], "q1==");
    assert_eq!(listed[0]["metadata"]["expiresAt"], "null", "a text, as the reference server writes it");

    // What is told twice is heard once, and a text is no key.
    let text = data(&mut at_alice, "notify:messageType:text:@bob:Hello World!")?;
    delivered(&mut at_alice, &text)?;
    let heard = json(&mut at_bob, "notify:list:Hello")?;
    assert_eq!(heard.as_array().map(Vec::len), Some(1));
    assert_eq!((&heard[0]["key"], &heard[0]["value"]), (&"@bob:Hello World!".into(), &Value::Null));
    assert_eq!(heard[0]["isEncrypted"], false);

    // Updates and deletions of a shared key are told by themselves.
    data(&mut at_alice, "update:ttr:-1:ccd:true:@bob:phone.wavi@alice other")?;
    let cached = "llookup:cached:@bob:phone.wavi@alice";
    eventually(&mut at_bob, cached, |answer| answer.starts_with("data:other"))?;
    data(&mut at_alice, "delete:@bob:phone.wavi@alice")?;
    eventually(&mut at_bob, cached, |answer| answer.starts_with("error:AT0015-"))?;
    Ok(())
}

#[test]
fn several_at_sign_are_told_the_same_and_one_that_is_unknown_or_down_delays_nobody() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob, carol) = (network.join("@alice")?, network.join("@bob")?, network.join("@carol")?);
    let mut at_alice = alice.connect_as_owner()?;
    carol.signal("STOP")?;
    let answer = at_alice.request("notify:all:@bob,@carol,nobody:news.wavi@alice:1")?;
    let ids: Value = serde_json::from_str(
        answer.strip_prefix("data: ").and_then(|answer| answer.lines().next()).unwrap_or_default(),
    )?;
    let id = |name: &str| ids[name].as_str().unwrap_or_default().to_owned();
    for number in 0..5 {
        data(&mut at_alice, &format!("notify:@carol:late{number}.wavi@alice:{number}"))?;
    }
    delivered(&mut at_alice, &id("@bob"))?;
    let unknown = format!("notify:status:{}", id("@nobody"));
    eventually(&mut at_alice, &unknown, |answer| answer.starts_with("data:errored"))?;
    let late = format!("notify:status:{}", id("@carol"));
    assert_eq!(data(&mut at_alice, &late)?, "queued");
    carol.signal("CONT")?;
    delivered(&mut at_alice, &id("@carol"))?;
    let mut at_carol = carol.connect_as_owner()?;
    eventually(&mut at_carol, "notify:list:late4", |answer| answer.starts_with("data:["))?;
    let list = json(&mut at_carol, "notify:list:wavi")?;
    let keys: Vec<_> =
        list.as_array().into_iter().flatten().filter_map(|entry| entry["value"].as_str()).collect();
    assert_eq!(keys, ["1", "0", "1", "2", "3", "4"]);
    drop(bob);
    Ok(())
}

#[test]
fn of_the_latest_only_so_many_are_sent() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let mut at_alice = alice.connect_as_owner()?;
    bob.signal("STOP")?;
    let mut newest = String::new();
    for number in 0..4 {
        let command = format!("notify:strategy:latest:notifier:wavi:@bob:place.wavi@alice:{number}");
        newest = data(&mut at_alice, &command)?;
    }
    bob.signal("CONT")?;
    delivered(&mut at_alice, &newest)?;
    let mut at_bob = bob.connect_as_owner()?;
    let placed = json(&mut at_bob, "notify:list:place")?;
    let values: Vec<_> =
        placed.as_array().into_iter().flatten().filter_map(|entry| entry["value"].as_str()).collect();
    // One of the others may have been on its way already.
    ensure!(values.last() == Some(&"3") && values.len() <= 2, "{values:?}");
    Ok(())
}

#[test]
fn what_waits_to_be_sent_survives_the_death_of_the_server() -> Result<()> {
    let network = Network::start()?;
    let (mut alice, mut bob) = (network.join("@alice")?, network.join("@bob")?);
    bob.signal("STOP")?;
    let mut at_alice = alice.connect_as_owner()?;
    let mut newest = String::new();
    for number in 0..20 {
        newest = data(&mut at_alice, &format!("notify:@bob:n.wavi@alice:{number}"))?;
    }
    alice.restart()?;
    // It may have missed them, and may die too: none is lost, and none is heard twice.
    bob.restart()?;
    delivered(&mut alice.connect_as_owner()?, &newest)?;
    let list = json(&mut bob.connect_as_owner()?, "notify:list:n.wavi")?;
    let values: Vec<_> =
        list.as_array().into_iter().flatten().filter_map(|entry| entry["value"].as_str()).collect();
    assert_eq!(values, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    Ok(())
}
