//! `llookup` (reference page section 2.8).

use anyhow::Result;

use crate::{data, json, owner};

#[test]
fn exactly_the_named_key_is_read() -> Result<()> {
    let mut client = owner()?;
    for (key, value) in
        [("llookup.k@alice", "own"), ("public:llookup.k@alice", "public"), ("@bob:llookup.k@alice", "bob's")]
    {
        client.request(&format!("update:{key} {value}"))?;
    }
    assert_eq!(data(&mut client, "llookup:llookup.k@alice")?, "own");
    assert_eq!(data(&mut client, "llookup:public:llookup.k@alice")?, "public");
    assert_eq!(data(&mut client, "llookup:@bob:llookup.k@alice")?, "bob's");
    Ok(())
}

#[test]
fn a_key_may_have_one_letter() -> Result<()> {
    let mut client = owner()?;
    client.request("update:l@alice 1")?;
    client.request("update:public:l@alice 2")?;
    assert_eq!(data(&mut client, "llookup:l@alice")?, "1");
    assert_eq!(data(&mut client, "llookup:public:l@alice")?, "2");
    Ok(())
}

#[test]
fn all_is_key_data_and_metadata() -> Result<()> {
    let mut client = owner()?;
    client.request("update:llookup.all@alice some value")?;
    let answer = data(&mut client, "llookup:all:llookup.all@alice")?;
    assert!(
        answer.starts_with(
            r#"{"key":"llookup.all@alice","data":"some value","metaData":{"createdBy":"@alice","#
        )
    );
    let meta = json(&mut client, "llookup:meta:llookup.all@alice")?;
    assert_eq!(json(&mut client, "llookup:all:llookup.all@alice")?["metaData"], meta);
    Ok(())
}

#[test]
fn a_reference_is_answered_as_it_is() -> Result<()> {
    let mut client = owner()?;
    client.request("update:public:llookup.from@alice atsign://llookup.to@alice")?;
    assert_eq!(data(&mut client, "llookup:public:llookup.from@alice")?, "atsign://llookup.to@alice");
    Ok(())
}
