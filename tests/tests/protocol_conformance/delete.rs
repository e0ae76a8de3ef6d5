//! `delete` (reference page section 2.11).

use anyhow::Result;

use crate::{data, owner};

#[test]
fn a_deleted_key_is_gone() -> Result<()> {
    let mut client = owner()?;
    for key in ["delete.own@alice", "public:delete.pub@alice", "@bob:delete.bob@alice"] {
        client.request(&format!("update:{key} 1"))?;
        let id: i64 = data(&mut client, &format!("delete:{key}"))?.parse()?;
        assert!(id >= 0, "{key}");
        assert!(client.request(&format!("llookup:{key}"))?.starts_with("error:AT0015-"), "{key}");
    }
    Ok(())
}

#[test]
fn a_key_that_was_never_there_gets_a_commit_id_too() -> Result<()> {
    let mut client = owner()?;
    let first: i64 = data(&mut client, "delete:delete.never@alice")?.parse()?;
    let second: i64 = data(&mut client, "delete:priority:high:delete.never@alice")?.parse()?;
    assert!(second > first);
    assert_eq!(data(&mut client, "delete:nc:delete.never@alice")?, "-1");
    Ok(())
}

#[test]
fn a_key_made_again_begins_anew() -> Result<()> {
    let mut client = owner()?;
    client.request("update:ttr:-1:delete.again@alice 1")?;
    client.request("update:delete.again@alice 2")?;
    client.request("delete:delete.again@alice")?;
    client.request("update:delete.again@alice 3")?;
    let metadata = crate::json(&mut client, "llookup:meta:delete.again@alice")?;
    assert_eq!(metadata["version"], 0);
    assert!(metadata.get("ttr").is_none());
    Ok(())
}

#[test]
fn the_keys_that_a_server_needs_stay() -> Result<()> {
    let mut client = owner()?;
    for key in ["public:signing_publickey@alice", "@alice:signing_privatekey@alice", "public:publickey@alice"]
    {
        assert_eq!(
            client.request(&format!("delete:{key}"))?,
            format!(
                "error:AT0009-UnAuthorized client in request : Cannot delete protected key: '{key}'\n@alice@"
            )
        );
    }
    data(&mut client, "delete:cached:public:publickey@bob")?;
    Ok(())
}

#[test]
fn an_immutable_record_is_deleted_by_force_only() -> Result<()> {
    let mut client = owner()?;
    data(&mut client, "update:immutable:true:delete.stone@alice 1")?;
    assert!(client.request("delete:delete.stone@alice")?.starts_with("error:AT0032-"));
    assert_eq!(data(&mut client, "llookup:delete.stone@alice")?, "1");
    data(&mut client, "delete:dAt:2024-05-05T09:06:40.007Z:force:delete.stone@alice")?;
    assert!(client.request("llookup:delete.stone@alice")?.starts_with("error:AT0015-"));
    Ok(())
}

#[test]
fn the_secret_of_the_onboarding_is_worth_nothing_once_deleted() -> Result<()> {
    let server = atsign_tests::secondary::Secondary::start("@heidi")?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(client.request("delete:privatekey:at_secret")?, "data:-1\n@heidi@");
    let mut other = server.connect()?;
    other.challenge("@heidi")?;
    assert!(other.request(&format!("cram:{}", "0".repeat(128)))?.starts_with("error:AT0015-"));
    Ok(())
}
