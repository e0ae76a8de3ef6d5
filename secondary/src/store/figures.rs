//! What the store counts, for `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histogram of group commits, microseconds.
pub const BOUNDS: [u64; 8] = [250, 1_000, 4_000, 16_000, 64_000, 250_000, 1_000_000, 4_000_000];

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Figures {
    /// Changes that are on disk and confirmed.
    pub changes: AtomicU64,
    /// Changes that were refused or failed.
    pub failed: AtomicU64,
    /// Keys that were deleted because they expired.
    pub expired: AtomicU64,
    /// Transactions by the time that COMMIT and fence took; the last is longer than every bound.
    pub commits: [AtomicU64; BOUNDS.len() + 1],
    /// The sum of these times, microseconds.
    pub commit_micros: AtomicU64,
    /// Whether every row was looked at since the start, and found sound.
    pub looked_over: AtomicBool,
}

impl Figures {
    /// Counts one transaction.
    pub fn committed(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.commits[bucket].fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
