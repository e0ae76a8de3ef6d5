//! The handshake of two servers, byte for byte, with one of them played by the test (reference page section 3.8).

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use atsign_tests::client::Client;
use atsign_tests::network::Network;
use atsign_tests::secondary::Secondary;
use atsign_tests::stand_in::{SIGNING_PUBLIC_KEY, StandIn, Visitor, sign};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

use crate::data;

/// The session that the stand-in names, and what is to be signed for it.
const SESSION: &str = "_4af24c03-d732-48f8-a9a2-570e8fb6a01c";
const PROOF: &str = "7e1c9a52-0d0b-4a3c-9f3e-0f3b6f1d2c4e";

/// A signature of the wrong thing, of a session and its proof.
type Wrong = fn(&str, &str) -> Result<String>;

/// @alice's server, and a stand-in for @bob's.
fn alice_is_real() -> Result<(Network, Secondary, StandIn)> {
    let network = Network::start()?;
    // She tells nobody of what she shares: the stand-in is called back for proofs only.
    let alice = network.join_with("@alice", &["--auto-notify", "false"])?;
    let bob = network.stand_in("@bob")?;
    Ok((network, alice, bob))
}

/// @bob's server, and a stand-in for @alice's.
fn bob_is_real() -> Result<(Network, Secondary, StandIn)> {
    let network = Network::start()?;
    let bob = network.join("@bob")?;
    let alice = network.stand_in("@alice")?;
    Ok((network, bob, alice))
}

/// Sends `pol`, and shows the server that calls back what it asks for.
fn prove(client: &mut Client, bob: &StandIn, session: &str, signature: &str, key: &str) -> Result<()> {
    client.send(b"pol\n")?;
    let mut alice = bob.visitor()?;
    alice.hear(&format!("lookup:{session}@bob\n"))?;
    alice.say(format!("data:{signature}\n@"))?;
    alice.hear("lookup:signing_publickey@bob\n")?;
    alice.say(format!("data:{key}\n@"))
}

#[test]
fn a_server_that_proves_whose_it_is_gets_what_is_shared_with_its_at_sign() -> Result<()> {
    let (_network, alice, bob) = alice_is_real()?;
    data(&mut alice.connect_as_owner()?, "update:ttr:-1:ccd:true:@bob:phone.wavi@alice a data:secret")?;
    data(&mut alice.connect_as_owner()?, "update:public:phone.wavi@alice public")?;
    let mut client = bob.visit(&alice)?;
    let (session, proof) = bob.claim(&mut client)?;
    ensure!(session.len() == 37 && session.starts_with('_') && proof.len() == 36, "{session} {proof}");
    // Only the proof is signed, and not the session before it.
    prove(&mut client, &bob, &session, &sign(&proof)?, SIGNING_PUBLIC_KEY.trim())?;
    assert_eq!(client.read_some()?, "@bob@");

    assert_eq!(client.request("lookup:phone.wavi@alice")?, "data:a data:secret\n@bob@");
    let whole = client.request("lookup:all:phone.wavi@alice")?;
    let whole =
        whole.strip_prefix("data:").and_then(|rest| rest.strip_suffix("\n@bob@")).context(whole.clone())?;
    let whole: Value = serde_json::from_str(whole)?;
    assert_eq!(whole["key"], "@bob:phone.wavi@alice");
    assert_eq!(whole["data"], "a data:secret");
    assert_eq!((&whole["metaData"]["ttr"], &whole["metaData"]["ccd"]), (&(-1).into(), &true.into()));
    assert_eq!(client.request("scan")?, "data:[\"phone.wavi@alice\"]\n@bob@");
    // What is wrong is told with the bare prompt.
    let missing = client.request("lookup:other.wavi@alice")?;
    ensure!(missing.starts_with("error:AT0015-") && missing.ends_with("\n@"), "{missing}");
    let refused = "error:AT0401-Exception: Command cannot be executed without auth\n@";
    assert_eq!(client.request("llookup:phone.wavi@alice")?, refused);
    assert_eq!(client.request("update:@bob:x.wavi@alice 1")?, refused);
    Ok(())
}

#[test]
fn a_notification_of_another_server_is_taken_in_once() -> Result<()> {
    let (_network, alice, bob) = alice_is_real()?;
    let mut client = bob.visit(&alice)?;
    let (session, proof) = bob.claim(&mut client)?;
    prove(&mut client, &bob, &session, &sign(&proof)?, SIGNING_PUBLIC_KEY.trim())?;
    assert_eq!(client.read_some()?, "@bob@");
    let line = "notify:id:8b1e:update:messageType:key:notifier:SYSTEM:ttln:60000:ttr:-1:ccd:true:isEncrypted:false:\
                @alice:phone.wavi@bob:1";
    for _ in 0..2 {
        assert_eq!(client.request(line)?, "data:success\n@bob@");
    }
    let mut owner = alice.connect_as_owner()?;
    let list: Value = serde_json::from_str(&data(&mut owner, "notify:list")?)?;
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!((&list[0]["id"], &list[0]["from"]), (&"8b1e".into(), &"@bob".into()));
    assert_eq!(data(&mut owner, "llookup:cached:@alice:phone.wavi@bob")?, "1");
    // A key of somebody else is none of its business.
    let refused = client.request("notify:update:ttr:-1:@alice:phone.wavi@carol:1")?;
    ensure!(refused.starts_with("error:AT0009-Exception: ") && refused.ends_with("\n@"), "{refused}");
    Ok(())
}

#[test]
fn a_wrong_proof_is_refused_and_the_connection_stays_a_strangers() -> Result<()> {
    let (_network, alice, bob) = alice_is_real()?;
    data(&mut alice.connect_as_owner()?, "update:nc:@bob:phone.wavi@alice 1")?;
    let key = SIGNING_PUBLIC_KEY.trim();
    let session_too: Wrong = |session, proof| sign(&format!("{session}@bob:{proof}"));
    let another: Wrong = |_, _| sign(PROOF);
    let cut: Wrong = |_, proof| Ok(sign(proof)?[4..].to_owned());
    let nonsense: Wrong = |_, _| Ok("*** no base64 ***".to_owned());
    let right: Wrong = |_, proof| sign(proof);
    for (what, wrong, key) in [
        ("the session is signed too", session_too, key),
        ("another text is signed", another, key),
        ("the signature is cut", cut, key),
        ("it is no base64", nonsense, key),
        ("the key is none", right, "MIIB"),
        ("the key is another's", right, &key.replace("AQAB", "AQAC")),
    ] {
        let mut client = bob.visit(&alice)?;
        let (session, proof) = bob.claim(&mut client)?;
        prove(&mut client, &bob, &session, &wrong(&session, &proof)?, key)?;
        let refused = "error:AT0401-Exception: Pol Authentication Failed\n@";
        assert_eq!(client.answer()?, refused, "{what}");
        ensure!(client.request("lookup:phone.wavi@alice")?.starts_with("error:AT0015-"), "{what}");
        assert_eq!(client.request("scan")?, "data:[\"signing_publickey@alice\"]\n@", "{what}");
        // The challenge was good once.
        let again = client.request("pol")?;
        ensure!(again.starts_with("error:AT0011-Exception: You must execute a 'from:'"), "{what}: {again}");
    }
    Ok(())
}

#[test]
fn a_proof_that_cannot_be_had_ends_the_connection() -> Result<()> {
    let (_network, alice, bob) = alice_is_real()?;
    let too_long = format!("data:{}", "x".repeat(64 * 1024));
    for (what, answer) in [
        ("there is none", Some("data:null\n@")),
        ("it is unknown", Some("error:AT0015-Exception: does not exist in keystore\n@")),
        ("what comes is no answer", Some("HTTP/1.1 400 Bad Request\n\n")),
        ("what comes is no text", Some("\u{0}\u{1}\n@")),
        ("the answer has no end", Some(too_long.as_str())),
        ("it closes in the middle", Some("data:half")),
        ("it never answers", None),
    ] {
        let mut client = bob.visit(&alice)?;
        let (session, _) = bob.claim(&mut client)?;
        client.send(b"pol\n")?;
        let mut visitor = bob.visitor()?;
        visitor.hear(&format!("lookup:{session}@bob\n"))?;
        if let Some(answer) = answer {
            // Whoever has read enough goes while more is on its way.
            let said = visitor.say(answer);
            ensure!(said.is_ok() || answer.len() > 1024, "{what}: {said:?}");
            drop(visitor);
        } else {
            visitor.is_gone().context(what)?;
        }
        let refused = client.answer()?;
        ensure!(
            refused.starts_with("error:AT0011-Exception: Pol Authentication Failed: "),
            "{what}: {refused}"
        );
        ensure!(refused.ends_with("\n@"), "{what}: {refused}");
        assert_eq!(client.rest()?, "", "{what}");
    }
    Ok(())
}

/// Leads our server through the handshake, and returns its connection.
fn believe(bob: &Secondary, alice: &StandIn, proof: &str) -> Result<Visitor> {
    let mut visitor = alice.visitor()?;
    visitor.hear("from:@bob\n")?;
    ensure!(visitor.has_shown_a_certificate(), "it has shown no certificate");
    visitor.say(format!("data:proof:{SESSION}@bob:{proof}\n@"))?;
    visitor.hear("pol\n")?;
    let mut client = bob.connect()?;
    let signature = data(&mut client, &format!("lookup:{SESSION}@bob"))?;
    let key = STANDARD.decode(data(&mut client, "lookup:signing_publickey@bob")?)?;
    // The key itself is what SubjectPublicKeyInfo of this kind has at its end.
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.get(24..).context("a short key")?);
    key.verify(proof.as_bytes(), &STANDARD.decode(signature)?).map_err(|_| anyhow!("a wrong signature"))?;
    visitor.say("@bob@")?;
    Ok(visitor)
}

#[test]
fn our_server_proves_itself_by_signing_the_proof_alone_for_as_long_as_it_takes() -> Result<()> {
    let (_network, bob, alice) = bob_is_real()?;
    let mut owner = bob.connect_as_owner()?;
    owner.send(b"lookup:phone.wavi@alice\n")?;
    let mut visitor = believe(&bob, &alice, PROOF)?;
    visitor.hear("lookup:all:phone.wavi@alice\n")?;
    // As the network may cut it, prompt and all.
    for piece in [
        "data:{\"key\":\"@bob:phone.wavi@alice\",\"data\":\"a @bob@ ",
        "data:secret\",\"metaData\":{}}",
        "\n@b",
        "ob@",
    ] {
        visitor.say(piece)?;
    }
    assert_eq!(owner.answer()?, "data:a @bob@ data:secret\n@bob@");
    let gone = bob.connect()?.request(&format!("lookup:{SESSION}@bob"))?;
    ensure!(gone.starts_with("error:AT0015-"), "the signature is still there: {gone}");

    // The connection is kept, and is for the next request.
    owner.send(b"lookup:bypassCache:true:other.wavi@alice\n")?;
    visitor.hear("lookup:all:other.wavi@alice\n")?;
    visitor.say("error:AT0015-Exception: @bob:other.wavi@alice does not exist in keystore\n@")?;
    let missing = owner.answer()?;
    ensure!(missing.starts_with("error:AT0015-key not found : "), "{missing}");
    owner.send(b"scan:@alice wavi\n")?;
    visitor.hear("scan wavi\n")?;
    visitor.say("data:[\"phone.wavi@alice\"]\n@bob@")?;
    assert_eq!(owner.answer()?, "data:[\"phone.wavi@alice\"]\n@bob@");
    // Public data is asked for as a stranger.
    owner.send(b"plookup:city.wavi@alice\n")?;
    let mut stranger = alice.visitor()?;
    stranger.hear("lookup:all:city.wavi@alice\n")?;
    stranger.say("data:null\n@")?;
    ensure!(owner.answer()?.starts_with("error:AT0015-"));
    Ok(())
}

#[test]
fn our_server_tells_a_notification_in_the_order_of_the_reference_server() -> Result<()> {
    let (_network, bob, alice) = bob_is_real()?;
    let mut owner = bob.connect_as_owner()?;
    let id = data(
        &mut owner,
        "notify:id:n1:update:messageType:key:notifier:app:ttln:60000:ttr:-1:ccd:true:ivNonce:q1:@alice:phone.wavi@bob:v:1",
    )?;
    assert_eq!(id, "n1");
    let mut visitor = believe(&bob, &alice, PROOF)?;
    let line = visitor.line()?;
    let rest =
        line.strip_prefix("notify:id:n1:update:messageType:key:notifier:app:ttln:").context(line.clone())?;
    let (ttln, rest) = rest.split_once(':').context(line.clone())?;
    ensure!((1..=60_000).contains(&ttln.parse::<u32>()?), "{line}");
    assert_eq!(rest, "ttr:-1:ccd:true:isEncrypted:true:ivNonce:q1:@alice:phone.wavi@bob:v:1\n");
    // Another answer than success is none: it is sent again, over the same or another connection.
    visitor.say("data:null\n@bob@")?;
    visitor.line()?;
    visitor.say("data:success\n@bob@")?;
    while data(&mut owner, "notify:status:n1")? != "delivered" {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn what_is_no_handshake_is_told_to_the_owner_and_shows_nothing_signed() -> Result<()> {
    let (_network, bob, alice) = bob_is_real()?;
    let challenge = format!("data:proof:{SESSION}@bob:{PROOF}\n@");
    let elsewhere = URL_SAFE.encode(r#"{"v":"@mallory","n":"1"}"#);
    let relayed = format!("data:proof:{SESSION}@bob:pol1.{elsewhere}\n@");
    let too_long = "x".repeat(20 * 1024);
    for (what, to_from, to_pol, code) in [
        ("it refuses us", "error:AT0013-Exception: Unable to connect\n@", None, "AT0008"),
        ("it takes us for itself", "data:_s1@alice:7e1c\n@", None, "AT0008"),
        ("it names no session", "data:proof:\n@", None, "AT0011"),
        ("it names a session of ours", "data:proof:phone.wavi@bob:7e1c\n@", None, "AT0011"),
        ("it gives on what another server wants signed", relayed.as_str(), None, "AT0008"),
        ("what comes is no line", too_long.as_str(), None, "AT0011"),
        ("it closes", "", None, "AT0004"),
        (
            "it does not believe us",
            &challenge,
            Some("error:AT0401-Exception: Pol Authentication Failed\n@"),
            "AT0008",
        ),
        ("it takes us for another", &challenge, Some("@carol@\n"), "AT0008"),
        ("it says success instead", &challenge, Some("data:success\n@bob@"), "AT0008"),
        ("what comes is no prompt", &challenge, Some(too_long.as_str()), "AT0011"),
        ("it closes before it believes us", &challenge, Some(""), "AT0004"),
    ] {
        let mut owner = bob.connect_as_owner()?;
        owner.send(b"lookup:phone.wavi@alice\n")?;
        let mut visitor = alice.visitor()?;
        visitor.hear("from:@bob\n")?;
        visitor.say(to_from)?;
        if let Some(to_pol) = to_pol {
            visitor.hear("pol\n").context(what)?;
            visitor.say(to_pol)?;
        }
        drop(visitor);
        let refused = owner.answer()?;
        ensure!(
            refused.starts_with(&format!("error:{code}-")) && refused.ends_with("\n@bob@"),
            "{what}: {refused}"
        );
        let shown = bob.connect()?.request(&format!("lookup:{SESSION}@bob"))?;
        ensure!(shown.starts_with("error:AT0015-"), "{what}: {shown}");
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_given_up_and_its_late_answer_is_nobodys() -> Result<()> {
    let (_network, bob, alice) = bob_is_real()?;
    let mut owner = bob.connect_as_owner()?;
    owner.send(b"lookup:phone.wavi@alice\n")?;
    let mut visitor = believe(&bob, &alice, PROOF)?;
    visitor.hear("lookup:all:phone.wavi@alice\n")?;
    let given_up = owner.answer()?;
    ensure!(given_up.starts_with("error:AT0023-"), "{given_up}");
    visitor.is_gone()?;
    owner.send(b"lookup:phone.wavi@alice\n")?;
    let mut visitor = believe(&bob, &alice, PROOF)?;
    visitor.hear("lookup:all:phone.wavi@alice\n")?;
    visitor.say("data:{\"data\":\"2\",\"metaData\":{}}\n@bob@")?;
    assert_eq!(owner.answer()?, "data:2\n@bob@");
    Ok(())
}

/// A connection that @alice's server takes for @bob's.
fn proven(alice: &Secondary, bob: &StandIn) -> Result<Client> {
    let mut client = bob.visit(alice)?;
    let (session, proof) = bob.claim(&mut client)?;
    prove(&mut client, bob, &session, &sign(&proof)?, SIGNING_PUBLIC_KEY.trim())?;
    ensure!(client.read_some()? == "@bob@");
    Ok(client)
}

/// Tells of a change, which must be taken in.
fn tell(client: &mut Client, what: &str) -> Result<()> {
    let answer = client.request(&format!("notify:{what}"))?;
    ensure!(answer == "data:success\n@bob@", "{what}: {answer}");
    Ok(())
}

#[test]
fn a_public_key_that_changes_by_notification_puts_the_shared_key_aside() -> Result<()> {
    let (_network, alice, bob) = alice_is_real()?;
    let mut owner = alice.connect_as_owner()?;
    let mut client = proven(&alice, &bob)?;
    data(&mut owner, "update:shared_key.bob@alice secret")?;
    for same in ["first", "first"] {
        tell(&mut client, &format!("update:ttr:-1:public:publickey@bob:{same}"))?;
        assert_eq!(data(&mut owner, "llookup:cached:public:publickey@bob")?, same);
        assert_eq!(data(&mut owner, "llookup:shared_key.bob@alice")?, "secret", "nothing has changed");
    }
    tell(&mut client, "update:ttr:-1:public:publickey@bob:second")?;
    assert_eq!(data(&mut owner, "plookup:publickey@bob")?, "second");
    ensure!(owner.request("llookup:shared_key.bob@alice")?.starts_with("error:AT0015-"));
    let aside: Vec<String> = serde_json::from_str(&data(&mut owner, "scan shared_key.bob.until")?)?;
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(data(&mut owner, &format!("llookup:{}", aside[0]))?, "secret");
    Ok(())
}

#[test]
fn a_copy_follows_what_its_owner_tells_and_goes_with_the_original_only_if_it_cascades() -> Result<()> {
    let (_network, alice, bob) = alice_is_real()?;
    let mut owner = alice.connect_as_owner()?;
    let mut client = proven(&alice, &bob)?;
    for to in ["public:", "@alice:"] {
        let copy = |key: &str| format!("cached:{to}{key}@bob");
        let told =
            |options: &str, key: &str, value: &str| format!("update:{options}{to}{key}.wavi@bob:{value}");
        // Without ttr there is no copy.
        tell(&mut client, &told("", "none", "1"))?;
        ensure!(
            owner.request(&format!("llookup:{}", copy("none.wavi")))?.starts_with("error:AT0015-"),
            "{to}"
        );

        tell(&mut client, &told("ttl:600000:ttr:-1:ccd:true:isEncrypted:true:ivNonce:q1:", "gone", "1"))?;
        tell(&mut client, &told("ttr:60:ccd:false:", "kept", "1"))?;
        tell(&mut client, &told("ttr:60:", "too", "1"))?;
        let meta: Value =
            serde_json::from_str(&data(&mut owner, &format!("llookup:meta:{}", copy("gone.wavi")))?)?;
        assert_eq!((&meta["ttl"], &meta["ttr"], &meta["ccd"]), (&600_000.into(), &(-1).into(), &true.into()));
        assert_eq!((&meta["ivNonce"], &meta["isEncrypted"]), (&"q1".into(), &true.into()));
        let meta: Value =
            serde_json::from_str(&data(&mut owner, &format!("llookup:meta:{}", copy("kept.wavi")))?)?;
        assert_eq!((&meta["ttr"], &meta["ccd"]), (&60.into(), &false.into()));
        ensure!(meta["refreshAt"].is_string(), "{meta}");

        // The value and what is said of it follow the owner.
        tell(&mut client, &told("ttr:-1:ccd:true:", "too", "2"))?;
        assert_eq!(data(&mut owner, &format!("llookup:{}", copy("too.wavi")))?, "2");
        for key in ["gone", "kept", "too", "never.was"] {
            tell(&mut client, &format!("delete:{to}{key}.wavi@bob"))?;
        }
        for (key, is_there) in [("gone", false), ("kept", true), ("too", false)] {
            let answer = owner.request(&format!("llookup:{}", copy(&format!("{key}.wavi"))))?;
            assert_eq!(answer.starts_with("data:"), is_there, "{to}{key}: {answer}");
        }
    }
    Ok(())
}
