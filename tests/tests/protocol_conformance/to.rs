//! `to` (reference page section 2.24).

use anyhow::Result;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

use crate::{data, json, stranger};

#[test]
fn who_says_whom_he_wants_is_told_the_public_keys() -> Result<()> {
    let server = Secondary::start("@to")?;
    let mut client = server.connect()?;
    assert_eq!(json(&mut client, "to:@To")?["publickey"], Value::Null);
    data(&mut server.connect_as_owner()?, "update:ttr:-1:public:publickey@to MII=")?;
    let answer = json(&mut client, "to:@to")?;
    assert_eq!(answer["publickey"], json(&mut client, "lookup:all:publickey@to")?);
    assert_eq!(answer["publickey"]["data"], "MII=");
    Ok(())
}

#[test]
fn whom_the_server_does_not_know_is_not_here() -> Result<()> {
    let mut client = stranger()?;
    assert_eq!(client.request("to:@bob")?, "error:AT0007-Exception: @bob is not hosted on this atServer\n@");
    for command in ["to", "to:", "to:bob", "to:@a@b"] {
        assert!(client.request(command)?.starts_with("error:AT0003-"), "{command}");
    }
    Ok(())
}
