//! `stats` (reference page section 2.15), as far as it is served.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{data, owner};

fn figures(command: &str) -> Result<Vec<Value>> {
    let answer = owner()?.request(command)?;
    let json = answer
        .strip_prefix("data: ")
        .and_then(|rest| rest.strip_suffix("\n@alice@"))
        .context(answer.clone())?;
    Ok(serde_json::from_str(json)?)
}

#[test]
fn figures_come_in_the_order_asked_for() -> Result<()> {
    let figures = figures("stats:7,4,3")?;
    let names: Vec<_> =
        figures.iter().map(|figure| (figure["id"].as_str(), figure["name"].as_str())).collect();
    assert_eq!(
        names,
        [
            (Some("7"), Some("secondaryServerVersion")),
            (Some("4"), Some("secondaryStorageSize")),
            (Some("3"), Some("lastCommitID")),
        ]
    );
    assert!(figures[0]["value"].is_string() && figures[2]["value"].is_string(), "{figures:?}");
    assert!(figures[1]["value"].as_u64() > Some(0), "{figures:?}");
    Ok(())
}

#[test]
fn the_last_commit_id_may_be_asked_of_some_keys_only() -> Result<()> {
    let mut client = owner()?;
    let id = data(&mut client, "update:stats.some@alice 1")?;
    data(&mut client, "update:stats.other@alice 1")?;
    assert_eq!(figures(r"stats:3:stats\.some")?[0]["value"], id);
    assert_eq!(figures("stats:3:stats.nothing.has.this.name")?[0]["value"], "-1");
    Ok(())
}
