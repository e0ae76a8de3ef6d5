//! How soon a server is ready that has 50,000 keys on local disk.

use std::time::Duration;

use anyhow::Result;
use atsign_tests::secondary::Secondary;

use super::{Row, fill};

const KEYS: usize = 50_000;
const STARTS: usize = 15;

pub(super) fn run() -> Result<Vec<Row>> {
    let mut server = Secondary::start("@alice")?;
    fill(&server, KEYS)?;
    let mut took: Vec<Duration> = (0..STARTS).map(|_| server.restart_until_ready()).collect::<Result<_>>()?;
    took.sort();
    let millis = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1000.0);
    Ok(vec![
        Row::new("ready after a kill, 50,000 keys, median of 15", millis(took[STARTS / 2]), "50 ms at most"),
        Row::new("the slowest of them", millis(took[STARTS - 1]), ""),
    ])
}
