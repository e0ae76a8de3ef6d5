//! `update:meta` (reference page section 2.10).

use anyhow::Result;

use crate::{data, json, owner};

#[test]
fn metadata_changes_and_the_value_stays() -> Result<()> {
    let mut client = owner()?;
    client.request("update:public:meta.kept@alice 1")?;
    data(&mut client, "update:meta:public:meta.kept@alice:ttl:600000:isEncrypted:true")?;
    assert_eq!(data(&mut client, "llookup:public:meta.kept@alice")?, "1");
    let metadata = json(&mut client, "llookup:meta:public:meta.kept@alice")?;
    assert_eq!((&metadata["ttl"], &metadata["isEncrypted"]), (&600_000.into(), &true.into()));
    assert_eq!(metadata["version"], 1);
    Ok(())
}

#[test]
fn a_missing_key_becomes_a_record_without_a_value() -> Result<()> {
    let mut client = owner()?;
    data(&mut client, "update:meta:@bob:meta.alone@alice:ttr:-1")?;
    assert_eq!(data(&mut client, "llookup:@bob:meta.alone@alice")?, "null");
    let all = json(&mut client, "llookup:all:@bob:meta.alone@alice")?;
    assert!(all.get("data").is_none() && all["metaData"]["ttr"] == -1, "{all}");
    Ok(())
}
