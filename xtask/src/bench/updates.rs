//! Durable updates: each is on disk before it is answered, and those that come together share a write.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atsign_tests::secondary::Secondary;

use super::{Row, owners};

const MEASURED: Duration = Duration::from_secs(5);

pub(super) fn run() -> Result<Vec<Row>> {
    let server = Secondary::start("@alice")?;
    let one = rate(&server, 1)?;
    let sixteen = rate(&server, 16)?;
    Ok(vec![
        Row::new("durable updates a second, one connection", format!("{one:.0}"), ""),
        Row::new("durable updates a second, 16 connections", format!("{sixteen:.0}"), ""),
        Row::new("in proportion", format!("{:.1}", sixteen / one), "5 at least"),
    ])
}

fn rate(server: &Secondary, connections: usize) -> Result<f64> {
    let began = Instant::now();
    let writers: Vec<_> = owners(server, connections)?
        .into_iter()
        .enumerate()
        .map(|(writer, mut owner)| {
            thread::spawn(move || -> Result<u32> {
                let mut count = 0;
                while began.elapsed() < MEASURED {
                    let key = format!("key{}w{writer}", count % 100);
                    let answer = owner.request(&format!("update:{key}.bench@alice {}", "v".repeat(200)))?;
                    ensure!(answer.starts_with("data:"), "{answer}");
                    count += 1;
                }
                Ok(count)
            })
        })
        .collect();
    let mut sum = 0;
    for writer in writers {
        sum += writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
    }
    Ok(f64::from(sum) / began.elapsed().as_secs_f64())
}
