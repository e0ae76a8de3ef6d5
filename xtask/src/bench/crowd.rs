//! 200 idle connections and 50,000 keys in 6 MiB.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atsign_tests::cgroup::MemoryGroup;
use atsign_tests::secondary::Secondary;

use super::{Row, fill, kib, owners};

const CONNECTIONS: usize = 200;
const KEYS: usize = 50_000;
const LOOKUPS: u32 = 5_000;

pub(super) fn run() -> Result<Vec<Row>> {
    // Before the server, for it is removed after it.
    let group = MemoryGroup::new(6 << 20)?;
    let mut server = Secondary::start("@alice")?;
    fill(&server, KEYS)?;
    server.restart_in(&group)?;
    sleep(Duration::from_secs(3));
    let before = group.anonymous()?;
    let mut owners = owners(&server, CONNECTIONS)?;
    sleep(Duration::from_secs(3));
    let after = group.anonymous()?;
    let began = Instant::now();
    for number in 0..LOOKUPS {
        // Spread over connections and keys.
        let key = number as usize * 7919 % KEYS;
        let answer =
            owners[number as usize % CONNECTIONS].request(&format!("llookup:key{key}.bench@alice"))?;
        ensure!(answer.starts_with("data:vvv"), "{answer}");
    }
    let rate = f64::from(LOOKUPS) / began.elapsed().as_secs_f64();
    Ok(vec![
        Row::new("anonymous memory, 50,000 keys, no connection", kib(before), ""),
        Row::new("anonymous memory, 50,000 keys, 200 connections", kib(after), ""),
        Row::new(
            "anonymous memory of an idle authenticated connection",
            format!("{} bytes", after.saturating_sub(before) / CONNECTIONS as u64),
            "10 KiB at most",
        ),
        Row::new("lookups a second over these connections, all keys", format!("{rate:.0}"), "answering"),
        Row::new("killed by the kernel", group.kills()?.to_string(), "0"),
    ])
}
