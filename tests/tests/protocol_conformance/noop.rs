//! `noop` (reference page section 2.19).

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::stranger;

#[test]
fn noop_waits_and_says_ok() -> Result<()> {
    let mut client = stranger()?;
    assert_eq!(client.request("noop:0")?, "data:ok\n@");
    let start = Instant::now();
    assert_eq!(client.request("noop:300")?, "data:ok\n@");
    assert!(start.elapsed() >= Duration::from_millis(300));
    Ok(())
}
