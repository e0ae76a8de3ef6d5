//! `lookup` (reference page section 2.6) of keys on this server.

use anyhow::Result;

use crate::{data, json, owner, stranger};

#[test]
fn a_stranger_reads_what_is_public() -> Result<()> {
    let mut client = owner()?;
    client.request("update:public:lookup.pub@alice 1")?;
    client.request("update:lookup.own@alice 2")?;
    client.request("update:@bob:lookup.bob@alice 3")?;
    let mut stranger = stranger()?;
    assert_eq!(data(&mut stranger, "lookup:lookup.pub@alice")?, "1");
    assert_eq!(data(&mut stranger, "lookup:bypassCache:true:lookup.pub@alice")?, "1");
    assert_eq!(json(&mut stranger, "lookup:all:lookup.pub@alice")?["key"], "public:lookup.pub@alice");
    assert_eq!(json(&mut stranger, "lookup:meta:lookup.pub@alice")?["version"], 0);
    for private in ["lookup.own", "lookup.bob"] {
        assert!(
            stranger.request(&format!("lookup:{private}@alice"))?.starts_with("error:AT0015-"),
            "{private}"
        );
    }
    Ok(())
}

#[test]
fn the_owner_reads_what_is_shared_with_himself() -> Result<()> {
    let mut client = owner()?;
    client.request("update:@alice:lookup.self@alice 1")?;
    client.request("update:lookup.bare@alice 2")?;
    assert_eq!(data(&mut client, "lookup:lookup.self@alice")?, "1");
    assert!(client.request("lookup:lookup.bare@alice")?.starts_with("error:AT0015-"));
    Ok(())
}

#[test]
fn a_value_that_is_not_there_yet_is_null() -> Result<()> {
    owner()?.request("update:ttb:60000:public:lookup.unborn@alice 1")?;
    let mut stranger = stranger()?;
    for operation in ["", "meta:", "all:"] {
        assert_eq!(data(&mut stranger, &format!("lookup:{operation}lookup.unborn@alice"))?, "null");
    }
    Ok(())
}

#[test]
fn up_to_three_references_are_followed() -> Result<()> {
    let mut client = owner()?;
    for (from, to) in [("ref4", "ref3"), ("ref3", "ref2"), ("ref2", "ref1"), ("ref1", "ref0")] {
        client.request(&format!("update:public:{from}@alice atsign://{to}@alice"))?;
    }
    client.request("update:public:ref0@alice the end")?;
    client.request("update:public:circle@alice atsign://circle@alice")?;
    let mut stranger = stranger()?;
    for from in ["ref1", "ref2", "ref3"] {
        assert_eq!(data(&mut stranger, &format!("lookup:{from}@alice"))?, "the end", "{from}");
    }
    assert_eq!(data(&mut stranger, "lookup:ref4@alice")?, "null");
    assert_eq!(data(&mut stranger, "lookup:circle@alice")?, "null");
    Ok(())
}

#[test]
fn a_reference_shows_nobody_what_he_could_not_read_himself() -> Result<()> {
    let mut client = owner()?;
    client.request("update:lookup.hidden@alice secret")?;
    for target in [
        "lookup.hidden@alice",
        "privatekey:at_secret",
        "private:blocklist@alice",
        "@alice:x@alice",
        "nothing",
    ] {
        client.request(&format!("update:public:lookup.leak@alice atsign://{target}"))?;
        let answer = stranger()?.request("lookup:lookup.leak@alice")?;
        assert!(answer.starts_with("error:AT0015-"), "{target}: {answer}");
    }
    Ok(())
}
