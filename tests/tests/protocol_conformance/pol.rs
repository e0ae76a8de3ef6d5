//! Servers among themselves: `pol`, and what is looked up and listed through it (reference page sections 2.4 to 2.7,
//! 3.4 and 3.8).

use std::time::Duration;

use anyhow::{Context as _, Result};
use atsign_tests::network::Network;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

use crate::data;

#[test]
fn pol_without_from_ends_the_connection() -> Result<()> {
    let mut client = crate::stranger()?;
    assert_eq!(
        client.request("pol")?,
        "error:AT0011-Exception: You must execute a 'from:' command before you may run the pol command\n@"
    );
    assert_eq!(client.rest()?, "");
    Ok(())
}

#[test]
fn who_shows_no_certificate_of_its_server_gets_no_challenge() -> Result<()> {
    let server = Secondary::start("@alice")?;
    let mut client = server.connect()?;
    let refused = "error:AT0401-Exception: Certificate Verification Failed\n@";
    assert_eq!(client.request("from:@bob")?, refused);
    Ok(())
}

#[test]
fn a_server_that_does_not_ask_for_certificates_challenges_all_and_believes_nobody() -> Result<()> {
    let network = Network::start()?;
    let alice = network.join_with("@alice", &["--client-certificate-required", "false"])?;
    let _bob = network.join("@bob")?;
    let mut client = alice.connect()?;
    let challenge = client.request("from:@bob")?;
    assert!(challenge.starts_with("data:proof:_"), "{challenge}");
    assert!(challenge.contains("@bob:") && challenge.ends_with("\n@"), "{challenge}");
    let refused = client.request("pol")?;
    assert!(refused.starts_with("error:AT0011-Exception: Pol Authentication Failed"), "{refused}");
    Ok(())
}

#[test]
fn what_is_shared_with_an_at_sign_is_looked_up_and_listed_through_its_own_server() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let mut at_alice = alice.connect_as_owner()?;
    data(&mut at_alice, "update:isEncrypted:true:ivNonce:q1==:@bob:phone.wavi@alice a data:secret")?;
    data(&mut at_alice, "update:@carol:other.wavi@alice not for bob")?;
    data(&mut at_alice, "update:public:city.wavi@alice Paris")?;

    let mut at_bob = bob.connect_as_owner()?;
    assert_eq!(data(&mut at_bob, "lookup:phone.wavi@alice")?, "a data:secret");
    let all: Value = serde_json::from_str(&data(&mut at_bob, "lookup:all:phone.wavi@alice")?)?;
    assert_eq!((&all["key"], &all["data"]), (&"phone.wavi@alice".into(), &"a data:secret".into()));
    assert_eq!(all["metaData"]["ivNonce"], "q1==");
    let meta: Value = serde_json::from_str(&data(&mut at_bob, "lookup:meta:phone.wavi@alice")?)?;
    assert_eq!(meta["createdBy"], "@alice");
    assert_eq!(data(&mut at_bob, "scan:@alice")?, r#"["phone.wavi@alice"]"#);
    assert_eq!(data(&mut at_bob, "scan:@alice nothing")?, "[]");
    assert_eq!(data(&mut at_bob, "plookup:city.wavi@alice")?, "Paris");

    let missing = at_bob.request("lookup:other.wavi@alice")?;
    assert!(missing.starts_with("error:AT0015-key not found : "), "{missing}");
    assert!(missing.contains("does not exist in keystore"), "{missing}");
    let unknown = at_bob.request("lookup:phone.wavi@nobody")?;
    assert!(unknown.starts_with("error:AT0007-"), "{unknown}");
    Ok(())
}

#[test]
fn a_copy_is_answered_until_its_time_to_refresh_and_goes_with_the_original() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let (mut at_alice, mut at_bob) = (alice.connect_as_owner()?, bob.connect_as_owner()?);
    for (key, ttr) in [("ever", "ttr:-1:"), ("short", "ttr:1:"), ("never", "")] {
        data(&mut at_alice, &format!("update:nc:{ttr}public:{key}.wavi@alice 1"))?;
        assert_eq!(data(&mut at_bob, &format!("plookup:{key}.wavi@alice"))?, "1");
        data(&mut at_alice, &format!("update:nc:public:{key}.wavi@alice 2"))?;
    }
    assert_eq!(data(&mut at_bob, "plookup:ever.wavi@alice")?, "1");
    assert_eq!(data(&mut at_bob, "plookup:short.wavi@alice")?, "1");
    assert_eq!(data(&mut at_bob, "plookup:never.wavi@alice")?, "2");
    assert_eq!(data(&mut at_bob, "llookup:cached:public:never.wavi@alice")?, "2");
    assert_eq!(data(&mut at_bob, "plookup:bypassCache:true:ever.wavi@alice")?, "2");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(data(&mut at_bob, "plookup:short.wavi@alice")?, "2");

    data(&mut at_alice, "delete:public:ever.wavi@alice")?;
    assert!(at_bob.request("plookup:bypassCache:true:ever.wavi@alice")?.starts_with("error:AT0015-"));
    assert!(at_bob.request("llookup:cached:public:ever.wavi@alice")?.starts_with("error:AT0015-"));

    data(&mut at_alice, "update:public:publickey@alice MII")?;
    assert_eq!(data(&mut at_bob, "plookup:publickey@alice")?, "MII");
    let meta: Value =
        serde_json::from_str(&data(&mut at_bob, "llookup:meta:cached:public:publickey@alice")?)?;
    assert_eq!(meta["ttr"], -1);
    Ok(())
}

#[test]
fn many_at_once_each_get_their_own_answer() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let mut at_alice = alice.connect_as_owner()?;
    let mut at_bob = bob.connect_as_owner()?;
    for number in 0..8 {
        data(&mut at_alice, &format!("update:nc:@bob:key{number}.wavi@alice value {number}"))?;
        data(&mut at_bob, &format!("update:nc:@alice:key{number}.wavi@bob other {number}"))?;
    }
    // Both ways at the same time: each server proves itself to the other while it checks that one's proof.
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..8 {
            for (server, owner, value) in [(&bob, "alice", "value"), (&alice, "bob", "other")] {
                threads.push(scope.spawn(move || -> Result<()> {
                    let mut client = server.connect_as_owner()?;
                    let answer = data(&mut client, &format!("lookup:key{number}.wavi@{owner}"))?;
                    assert_eq!(answer, format!("{value} {number}"));
                    Ok(())
                }));
            }
        }
        threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread failed")?)
    })
}

#[test]
fn a_connection_that_died_is_made_anew_without_the_client_noticing() -> Result<()> {
    let network = Network::start()?;
    let (mut alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    data(&mut alice.connect_as_owner()?, "update:nc:@bob:phone.wavi@alice 1")?;
    let mut at_bob = bob.connect_as_owner()?;
    assert_eq!(data(&mut at_bob, "lookup:phone.wavi@alice")?, "1");
    alice.restart()?;
    assert_eq!(data(&mut at_bob, "lookup:phone.wavi@alice")?, "1");
    alice.signal("TERM")?;
    while alice.is_alive() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = at_bob.request("lookup:phone.wavi@alice")?;
    assert!(refused.starts_with("error:AT0021-"), "{refused}");
    Ok(())
}
