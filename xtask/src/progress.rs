//! What a person sees while it works: a line for each step, a sign of life while one takes long, and its seconds.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// A step that took longer says how long.
const WORTH_SAYING: Duration = Duration::from_secs(2);

/// How often a step that still runs says so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Runs one step: prints `name: doing`, then its seconds if they are worth saying.
pub(crate) fn step<T>(name: &str, doing: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{name:>12}  {doing}");
    let start = Instant::now();
    let result = std::thread::scope(|scope| {
        let (finished, running) = channel::<()>();
        scope.spawn(move || {
            while running.recv_timeout(SIGN_OF_LIFE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{:>12}  still {doing} ({} s)", "", start.elapsed().as_secs());
            }
        });
        let result = work();
        drop(finished);
        result
    });
    let took = start.elapsed();
    match &result {
        Ok(_) if took >= WORTH_SAYING => eprintln!("{:>12}  done in {:.1} s", "", took.as_secs_f32()),
        Ok(_) => {}
        Err(_) => eprintln!("{name:>12}  failed after {:.1} s", took.as_secs_f32()),
    }
    result
}

/// Asks until the answer is yes; the error names what was waited for and what to look at.
pub(crate) fn wait_until(
    what: &str,
    within: Duration,
    look_at: &str,
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !ask()? {
        if start.elapsed() > within {
            bail!("{what}: not within {} s; look at {look_at}", within.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
