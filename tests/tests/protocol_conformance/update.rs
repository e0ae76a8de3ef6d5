//! `update` and `update:json` (reference page section 2.9).

use std::time::{Duration, Instant};

use anyhow::Result;
use atsign_tests::secondary::Secondary;

use crate::{data, json, owner, stranger};

#[test]
fn a_value_is_stored_as_it_is() -> Result<()> {
    let mut client = owner()?;
    for value in ["1", "two words", " a leading space", "colons: and @s", "🛠🦄", "~NL~", r#"{"json":[1]}"#]
    {
        client.request(&format!("update:update.value@alice {value}"))?;
        assert_eq!(data(&mut client, "llookup:update.value@alice")?, value);
    }
    Ok(())
}

#[test]
fn a_key_is_stored_in_lower_case_and_found_in_any() -> Result<()> {
    let mut client = owner()?;
    client.request("update:public:Update.Case@ALICE 1")?;
    assert_eq!(data(&mut client, "llookup:public:uPDATE.cASE@alice")?, "1");
    assert_eq!(json(&mut client, "llookup:all:public:update.case@alice")?["key"], "public:update.case@alice");
    Ok(())
}

#[test]
fn emoji_are_letters() -> Result<()> {
    let mut client = owner()?;
    client.request("update:update🦄@alice 1")?;
    assert_eq!(data(&mut client, "llookup:update🦄@alice")?, "1");
    Ok(())
}

#[test]
fn each_change_gets_the_next_commit_id() -> Result<()> {
    let server = Secondary::start("@erin")?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(
        client.request("stats:3")?,
        "data: [{\"id\":\"3\",\"name\":\"lastCommitID\",\"value\":\"-1\"}]\n@erin@"
    );
    assert_eq!(data(&mut client, "update:a@erin 1")?, "0");
    assert_eq!(data(&mut client, "update:@bob:b.wavi@erin 1")?, "1");
    assert_eq!(data(&mut client, "update:a@erin 2")?, "2");
    assert_eq!(data(&mut client, "update:meta:a@erin:ttl:0")?, "3");
    assert_eq!(data(&mut client, "update:public:__hidden@erin 1")?, "4");
    assert_eq!(data(&mut client, "delete:a@erin")?, "5");
    assert_eq!(data(&mut client, "delete:never.there@erin")?, "6");
    for uncommitted in
        ["update:public:_session@erin 1", "update:nc:c@erin 1", "update:privatekey:at_pkam_publickey x"]
    {
        assert_eq!(data(&mut client, uncommitted)?, "-1", "{uncommitted}");
    }
    assert_eq!(
        client.request("stats:3")?,
        "data: [{\"id\":\"3\",\"name\":\"lastCommitID\",\"value\":\"6\"}]\n@erin@"
    );
    Ok(())
}

#[test]
fn a_new_key_has_version_0_and_its_maker() -> Result<()> {
    let mut client = owner()?;
    client.request("update:update.new@alice 1")?;
    let metadata = json(&mut client, "llookup:meta:update.new@alice")?;
    assert_eq!(metadata["version"], 0);
    assert_eq!((&metadata["createdBy"], &metadata["updatedBy"]), (&"@alice".into(), &"@alice".into()));
    assert_eq!(metadata["status"], "active");
    assert_eq!(metadata["createdAt"], metadata["updatedAt"]);
    let text = metadata["createdAt"].as_str().unwrap_or_default();
    assert_eq!((text.len(), &text[10..11], &text[19..20], &text[23..]), (24, " ", ".", "Z"), "{text}");
    assert_eq!((&metadata["isBinary"], &metadata["isEncrypted"]), (&false.into(), &false.into()));
    for unset in
        ["ttl", "ttb", "ttr", "ccd", "expiresAt", "availableAt", "refreshAt", "immutable", "pubKeyHash"]
    {
        assert!(metadata.get(unset).is_none(), "{unset} is not set");
    }
    Ok(())
}

#[test]
fn a_change_counts_the_version_and_keeps_what_it_does_not_name() -> Result<()> {
    let mut client = owner()?;
    client.request("update:ttr:-1:ccd:true:isEncrypted:true:ivNonce:q1w2:update.kept@alice 1")?;
    client.request("update:encAlgo:AES:update.kept@alice 2")?;
    let metadata = json(&mut client, "llookup:meta:update.kept@alice")?;
    assert_eq!(metadata["version"], 1);
    assert_eq!((&metadata["ttr"], &metadata["ccd"]), (&(-1).into(), &true.into()));
    assert_eq!((&metadata["ivNonce"], &metadata["encAlgo"]), (&"q1w2".into(), &"AES".into()));
    assert_eq!(metadata["isEncrypted"], false, "an update that does not say so is not encrypted");
    client.request("update:ivNonce:null:update.kept@alice 3")?;
    assert!(json(&mut client, "llookup:meta:update.kept@alice")?.get("ivNonce").is_none(), "null clears");
    Ok(())
}

#[test]
fn all_metadata_is_kept_in_any_order_and_spelling_of_booleans() -> Result<()> {
    let mut client = owner()?;
    client.request(concat!(
        "update:sharedKeyEnc:abc=:pubKeyCS:cs:isBinary:True:isEncrypted:FALSE:ttr:60:ccd:True:ttl:600000:ttb:1:",
        "dataSignature:sig:encoding:base64:encKeyName:k:encAlgo:AES/CTR:ivNonce:iv==:skeEncKeyName:s:skeEncAlgo:RSA:",
        "pubKeyHash:h:hashingAlgo:sha512:appMetadata:e30=:sharedKeyStatus:DELIVERED:@bob:update.all@alice 1"
    ))?;
    // A fast disk answers before the value is born: ttb is a millisecond.
    std::thread::sleep(std::time::Duration::from_millis(5));
    let metadata = json(&mut client, "llookup:meta:@bob:update.all@alice")?;
    for (field, value) in [
        ("ttl", 600_000.into()),
        ("ttb", 1.into()),
        ("ttr", 60.into()),
        ("ccd", true.into()),
        ("isBinary", true.into()),
        ("isEncrypted", false.into()),
        ("dataSignature", "sig".into()),
        ("sharedKeyEnc", "abc=".into()),
        ("pubKeyCS", "cs".into()),
        ("encoding", "base64".into()),
        ("encKeyName", "k".into()),
        ("encAlgo", "AES/CTR".into()),
        ("ivNonce", "iv==".into()),
        ("skeEncKeyName", "s".into()),
        ("skeEncAlgo", "RSA".into()),
        ("pubKeyHash", serde_json::json!({"hash": "h", "algo": "sha512"})),
        ("appMetadata", "e30=".into()),
    ] {
        assert_eq!(metadata[field], value, "{field}");
    }
    for time in ["availableAt", "expiresAt", "refreshAt"] {
        assert!(metadata[time].is_string(), "{time}");
    }
    assert!(metadata.get("sharedKeyStatus").is_none(), "the clients' own book-keeping");
    Ok(())
}

#[test]
fn claimed_times_are_stored() -> Result<()> {
    let mut client = owner()?;
    client.request("update:cAt:2024-05-05T09:06:40Z:uAt:2024-05-06T09:06:40.5Z:update.claimed@alice 1")?;
    let metadata = json(&mut client, "llookup:meta:update.claimed@alice")?;
    assert_eq!(metadata["createdAt"], "2024-05-05 09:06:40.000Z");
    assert_eq!(metadata["updatedAt"], "2024-05-06 09:06:40.500Z");
    Ok(())
}

#[test]
fn a_value_is_seen_from_its_birth_to_its_end() -> Result<()> {
    let mut client = owner()?;
    client.request("update:ttb:400:ttl:600:public:update.life@alice 1")?;
    assert_eq!(data(&mut client, "llookup:public:update.life@alice")?, "null", "not born");
    assert_eq!(data(&mut client, "scan update\\.life")?, "[]");
    client.request("noop:600")?;
    assert_eq!(data(&mut client, "llookup:public:update.life@alice")?, "1");
    assert_eq!(data(&mut client, "scan update\\.life")?, r#"["public:update.life@alice"]"#);
    client.request("noop:600")?;
    let answer = client.request("llookup:public:update.life@alice")?;
    // Swept already or not.
    assert!(answer.starts_with("data:null\n") || answer.starts_with("error:AT0015-"), "{answer}");
    assert_eq!(data(&mut client, "scan update\\.life")?, "[]");
    Ok(())
}

#[test]
fn an_update_without_a_ttl_leaves_the_end_where_it_is() -> Result<()> {
    let mut client = owner()?;
    client.request("update:ttl:100000:update.end@alice 1")?;
    let first = json(&mut client, "llookup:meta:update.end@alice")?;
    client.request("noop:5")?;
    client.request("update:update.end@alice 2")?;
    client.request("update:meta:update.end@alice:isEncrypted:true")?;
    let second = json(&mut client, "llookup:meta:update.end@alice")?;
    assert_eq!((&second["ttl"], &second["expiresAt"]), (&first["ttl"], &first["expiresAt"]));
    client.request("update:ttl:100000:update.end@alice 3")?;
    assert_ne!(json(&mut client, "llookup:meta:update.end@alice")?["expiresAt"], first["expiresAt"]);
    Ok(())
}

#[test]
fn an_immutable_record_is_not_updated() -> Result<()> {
    let mut client = owner()?;
    client.request("update:immutable:true:update.stone@alice 1")?;
    let refused = "error:AT0032-Illegal state : Immutable records may not be updated\n@alice@";
    assert_eq!(client.request("update:update.stone@alice 2")?, refused);
    assert_eq!(client.request("update:meta:update.stone@alice:ttl:5")?, refused);
    assert_eq!(client.request("delete:update.stone@alice")?, refused);
    assert_eq!(data(&mut client, "llookup:update.stone@alice")?, "1");
    data(&mut client, "delete:force:update.stone@alice")?;
    assert!(client.request("llookup:update.stone@alice")?.starts_with("error:AT0015-"));
    Ok(())
}

#[test]
fn the_json_form_says_the_same_in_fields() -> Result<()> {
    let mut client = owner()?;
    data(
        &mut client,
        concat!(
            r#"update:json:{"atKey":"update.json","value":"a \"b\"","sharedBy":"@alice","sharedWith":"@bob","#,
            r#""metadata":{"ttr":-1,"ccd":true,"isPublic":false,"isBinary":false,"isEncrypted":true,"ttl":null}}"#
        ),
    )?;
    assert_eq!(data(&mut client, "llookup:@bob:update.json@alice")?, "a \"b\"");
    let metadata = json(&mut client, "llookup:meta:@bob:update.json@alice")?;
    assert_eq!((&metadata["ttr"], &metadata["isEncrypted"]), (&(-1).into(), &true.into()));
    data(&mut client, r#"update:json:{"atKey":"update.json","value":"2","metadata":{"isPublic":true}}"#)?;
    assert_eq!(stranger()?.request("lookup:update.json@alice")?, "data:2\n@");
    Ok(())
}

#[test]
fn birth_and_end_may_be_claimed() -> Result<()> {
    let mut client = owner()?;
    client.request("update:aAt:2099-01-01T00:00:00Z:update.unborn@alice 1")?;
    assert_eq!(data(&mut client, "llookup:update.unborn@alice")?, "null");
    client.request("update:eAt:2099-01-01T00:00:00.250Z:update.claimed.end@alice 1")?;
    let metadata = crate::json(&mut client, "llookup:meta:update.claimed.end@alice")?;
    assert_eq!(metadata["expiresAt"], "2099-01-01 00:00:00.250Z");
    Ok(())
}

#[test]
fn a_key_that_has_just_expired_is_null_until_somebody_deletes_it() -> Result<()> {
    let mut client = owner()?;
    for (key, ask) in [
        ("update.over@alice", "llookup:update.over@alice"),
        ("public:update.over@alice", "plookup:update.over@alice"),
        ("@alice:update.over@alice", "lookup:update.over@alice"),
    ] {
        data(&mut client, &format!("update:ttl:100:{key} 1"))?;
        let deadline = Instant::now() + Duration::from_mins(1);
        while data(&mut client, ask)? != "null" {
            assert!(Instant::now() < deadline, "{key} does not expire");
            std::thread::sleep(Duration::from_millis(20));
        }
        let scanned = data(&mut client, "scan update.over")?;
        assert_eq!(scanned, "[]", "{key}");
        // Also once its row has gone, which the commit log tells.
        while !data(&mut client, "scan:cl update.over")?.contains("\"-\"") {
            assert!(Instant::now() < deadline, "{key} is not deleted");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(data(&mut client, ask)?, "null", "{key}");
        data(&mut client, &format!("update:{key} 2"))?;
        assert_eq!(data(&mut client, ask)?, "2", "{key}");
        data(&mut client, &format!("delete:{key}"))?;
        assert!(client.request(ask)?.starts_with("error:AT0015-"), "{key}");
    }
    assert_eq!(client.request("llookup:update.never@alice")?.split('-').next(), Some("error:AT0015"));
    Ok(())
}
