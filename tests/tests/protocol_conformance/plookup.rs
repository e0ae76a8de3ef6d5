//! `plookup` (reference page section 2.7) of public keys on this server.

use anyhow::Result;

use crate::{data, json, owner};

#[test]
fn the_owner_reads_his_public_keys_as_others_see_them() -> Result<()> {
    let mut client = owner()?;
    client.request("update:public:plookup.pub@alice 1")?;
    client.request("update:plookup.own@alice 2")?;
    assert_eq!(data(&mut client, "plookup:plookup.pub@alice")?, "1");
    let all = json(&mut client, "plookup:bypassCache:true:all:plookup.pub@alice")?;
    assert_eq!((&all["key"], &all["data"]), (&"public:plookup.pub@alice".into(), &"1".into()));
    assert!(client.request("plookup:plookup.own@alice")?.contains("does not exist in keystore"));
    Ok(())
}
