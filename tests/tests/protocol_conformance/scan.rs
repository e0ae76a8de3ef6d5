//! `scan` (reference page section 2.5).

use anyhow::Result;
use atsign_tests::secondary::Secondary;

use crate::data;

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
