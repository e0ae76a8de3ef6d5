//! `scan` (reference page section 2.5).

use anyhow::Result;
use atsign_tests::secondary::Secondary;

use crate::{data, json, owner, stranger};

fn filled() -> Result<Secondary> {
    let server = Secondary::start("@frank")?;
    let mut client = server.connect_as_owner()?;
    for key in [
        "own.wavi@frank",
        "@bob:shared.wavi@frank",
        "public:pub@frank",
        "public:__hidden@frank",
        "_mine@frank",
        "public:_session@frank",
    ] {
        data(&mut client, &format!("update:{key} 1"))?;
    }
    Ok(server)
}

/// The listed keys that the test made: the server has some of its own.
fn listed(answer: &str) -> Result<Vec<String>> {
    let mut keys: Vec<String> = serde_json::from_str(answer)?;
    keys.retain(|key| !key.contains("signing_"));
    keys.sort();
    Ok(keys)
}

#[test]
fn the_owner_sees_his_keys_and_hidden_ones_only_when_he_asks() -> Result<()> {
    let server = filled()?;
    let mut client = server.connect_as_owner()?;
    let visible = ["@bob:shared.wavi@frank", "own.wavi@frank", "public:pub@frank"];
    assert_eq!(listed(&data(&mut client, "scan")?)?, visible);
    assert_eq!(listed(&data(&mut client, "scan:showHidden:false")?)?, visible);
    assert_eq!(listed(&data(&mut client, "scan:@frank")?)?, visible);
    assert_eq!(
        listed(&data(&mut client, "scan:showHidden:true")?)?,
        [
            "@bob:shared.wavi@frank",
            "_mine@frank",
            "own.wavi@frank",
            "public:__hidden@frank",
            "public:pub@frank"
        ]
    );
    Ok(())
}

#[test]
fn each_listed_key_has_metadata() -> Result<()> {
    let server = filled()?;
    let mut client = server.connect_as_owner()?;
    let keys: Vec<String> = serde_json::from_str(&data(&mut client, "scan:showHidden:true")?)?;
    for key in keys {
        let metadata = data(&mut client, &format!("llookup:meta:{key}"))?;
        assert!(metadata.starts_with('{'), "{key}: {metadata}");
    }
    Ok(())
}

#[test]
fn a_stranger_sees_public_keys_without_their_prefix() -> Result<()> {
    let server = filled()?;
    let mut client = server.connect()?;
    for command in ["scan", "scan:showHidden:true"] {
        assert_eq!(listed(&data(&mut client, command)?)?, ["pub@frank"], "{command}");
    }
    Ok(())
}

#[test]
fn a_regex_is_searched_in_the_key_as_it_is_stored() -> Result<()> {
    let server = filled()?;
    let mut client = server.connect_as_owner()?;
    for (command, keys) in [
        ("scan wavi", &["@bob:shared.wavi@frank", "own.wavi@frank"] as &[&str]),
        ("scan ^public:p", &["public:pub@frank"]),
        ("scan:showHidden:true ^public:_", &["public:__hidden@frank"]),
        ("scan WAVI", &[]),
        ("scan nothing", &[]),
    ] {
        assert_eq!(listed(&data(&mut client, command)?)?, keys, "{command}");
    }
    assert_eq!(data(&mut client, "scan nothing")?, "[]");
    assert_eq!(listed(&data(&mut server.connect()?, "scan ^public:p")?)?, ["pub@frank"]);
    Ok(())
}

#[test]
fn a_thousand_keys_are_one_array() -> Result<()> {
    let server = Secondary::start("@frank")?;
    let mut client = server.connect_as_owner()?;
    for number in 0..1000 {
        data(&mut client, &format!("update:public:key{number:04}.wavi@frank 1"))?;
    }
    let keys = listed(&data(&mut client, "scan key")?)?;
    assert_eq!(keys.len(), 1000);
    assert_eq!(keys[999], "public:key0999.wavi@frank");
    Ok(())
}

#[test]
fn the_commit_log_is_told_to_the_owner_entry_by_entry_with_what_is_gone() -> Result<()> {
    let mut client = owner()?;
    let first: i64 = data(&mut client, "update:scancl.one@alice 1")?.parse()?;
    data(&mut client, "update:scancl._two@alice 1")?;
    let last: i64 = data(&mut client, "delete:scancl._two@alice")?.parse()?;
    let log = json(&mut client, "scan:cl ^scancl")?;
    assert_eq!(log.as_array().map(Vec::len), Some(2), "{log}");
    assert_eq!((&log[0]["atKey"], &log[0]["operation"]), (&"scancl.one@alice".into(), &"*".into()));
    assert_eq!((&log[0]["commitId"], &log[1]["commitId"]), (&first.into(), &last.into()));
    assert!(log[0]["opTime"].as_str().is_some_and(|time| time.contains('T') && time.ends_with('Z')), "{log}");
    assert_eq!((&log[1]["atKey"], &log[1]["operation"]), (&"scancl._two@alice".into(), &"-".into()));
    let refused = "error:AT0401-Exception: Command cannot be executed without auth\n@";
    assert_eq!(stranger()?.request("scan:cl")?, refused);
    assert!(client.request("scan:cl:@bob")?.starts_with("error:AT0003-"));
    Ok(())
}
