//! `cram` (reference page section 2.2).

use anyhow::Result;
use atsign_tests::secondary::Secondary;

use crate::{alice, stranger};

#[test]
fn who_knows_the_secret_is_the_owner() -> Result<()> {
    let mut client = stranger()?;
    assert!(client.request("llookup:x@alice")?.starts_with("error:AT0401-"));
    client.cram("@alice", &alice().secret)?;
    assert!(client.request("llookup:none@alice")?.starts_with("error:AT0015-"));
    Ok(())
}

#[test]
fn a_wrong_digest_is_refused_and_the_client_may_try_again() -> Result<()> {
    let mut client = stranger()?;
    client.challenge("@alice")?;
    assert_eq!(
        client.request(&format!("cram:{}", "0".repeat(128)))?,
        "error:AT0401-Exception: Authentication Failed\n@"
    );
    client.cram("@alice", &alice().secret)
}

#[test]
fn without_a_challenge_there_is_nothing_to_prove() -> Result<()> {
    let mut client = stranger()?;
    assert!(client.request("cram:00")?.starts_with("error:AT0015-Exception: private:_"));
    client.request("from:@bob")?;
    assert!(client.request("cram:00")?.starts_with("error:AT0015-Exception: private:_"));
    Ok(())
}

#[test]
fn a_failed_login_makes_the_owner_a_stranger() -> Result<()> {
    let mut client = crate::owner()?;
    client.challenge("@alice")?;
    assert!(client.request("cram:00")?.ends_with("Authentication Failed\n@"));
    assert!(client.request("llookup:x@alice")?.starts_with("error:AT0401-"));
    Ok(())
}

#[test]
fn the_secret_is_gone_once_the_owner_deletes_it() -> Result<()> {
    let server = Secondary::start("@carol")?;
    let mut client = server.connect_as_owner()?;
    assert_eq!(client.request("delete:privatekey:at_secret")?, "data:-1\n@carol@");
    let error = server.connect_as_owner().map(drop).expect_err("no secret is left").to_string();
    assert!(error.contains("AT0015-Exception: privatekey:at_secret does not exist"), "{error}");
    assert!(client.request("noop:0")?.starts_with("data:ok"), "who is logged in stays");
    Ok(())
}
