//! What a server at rest takes.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use atsign_tests::cgroup::MemoryGroup;
use atsign_tests::secondary::Secondary;

use super::{Row, kib};

pub(super) fn run() -> Result<Vec<Row>> {
    let group = MemoryGroup::new(6 << 20)?;
    let _server = Secondary::start_in(&group, "@alice", &[])?;
    // Its signing keys are made once and take memory meanwhile.
    sleep(Duration::from_secs(15));
    Ok(vec![
        Row::new("anonymous memory at rest", kib(group.anonymous()?), "1 MiB at most"),
        Row::new("all that is charged at rest", kib(group.used()?), ""),
    ])
}
