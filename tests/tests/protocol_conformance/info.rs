//! `info` (reference page section 2.19).

use anyhow::Result;

use crate::{data, json, stranger};

#[test]
fn info_tells_version_and_uptime_in_words() -> Result<()> {
    let answer = data(&mut stranger()?, "info")?;
    assert!(answer.starts_with(r#"{"version":""#) && answer.ends_with(r#" seconds"}"#), "{answer}");
    Ok(())
}

#[test]
fn info_brief_tells_them_in_numbers() -> Result<()> {
    let mut client = stranger()?;
    let uptime = |client: &mut _| -> Result<Option<u64>> {
        Ok(json(client, "info:brief")?["uptimeAsMillis"].as_u64())
    };
    let before = uptime(&mut client)?;
    client.request("noop:5")?;
    assert!(before < uptime(&mut client)?, "{before:?}");
    Ok(())
}
