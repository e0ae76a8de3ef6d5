//! What a provider may bill: counted while the server runs, kept in its store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use atsign_protocol::{Metering, Millis};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

const DAY: Millis = 24 * 60 * 60 * 1000;

/// The counts of one server.
#[derive(Debug, Default)]
pub struct Meter {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    kept: Kept,
    /// What is on disk for certain: only this is told, so that no crash makes a figure less than it was.
    saved: Metering,
    /// When the last tick was.
    last: Option<Instant>,
    /// What was counted and makes no whole byte-second or connection-second yet, in thousandths.
    rest: [u64; 3],
}

/// What the store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    #[serde(flatten)]
    metering: Metering,
    /// The day of the last notification, since 1970, and how many there were on it.
    day: i64,
    notifications_of_day: u64,
}

/// What is there at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present {
    /// The memory limit, 0 for none.
    pub limit: u64,
    /// Size of the store's files.
    pub store: u64,
    /// Open connections.
    pub connections: u64,
}

impl Meter {
    /// Goes on from what the store has kept, or begins now.
    pub fn begin(&self, kept: Option<Kept>, now: Millis) {
        let mut counts = self.counts();
        counts.kept = kept.unwrap_or_default();
        if counts.kept.metering.since == 0 {
            counts.kept.metering.since = now / 1000;
        }
        counts.saved = counts.kept.metering;
        counts.last = None;
    }

    /// Counts the time since the last tick, with what is there now.
    pub fn tick(&self, present: Present) {
        let mut counts = self.counts();
        let now = Instant::now();
        let Some(last) = counts.last.replace(now) else { return };
        let millis = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX);
        let Counts { kept: Kept { metering, .. }, rest, .. } = &mut *counts;
        let sums = [
            (&mut metering.limit_byte_seconds, present.limit),
            (&mut metering.store_byte_seconds, present.store),
            (&mut metering.connection_seconds, present.connections),
        ];
        for ((sum, there), rest) in sums.into_iter().zip(rest) {
            let thousandths = there.saturating_mul(millis).saturating_add(*rest);
            *sum = sum.saturating_add(thousandths / 1000);
            *rest = thousandths % 1000;
        }
    }

    /// Counts notifications that were accepted.
    pub fn notified(&self, count: u64, now: Millis) {
        let mut counts = self.counts();
        let kept = &mut counts.kept;
        kept.metering.notifications = kept.metering.notifications.saturating_add(count);
        let today = now.div_euclid(DAY);
        if kept.day != today {
            (kept.day, kept.notifications_of_day) = (today, 0);
        }
        kept.notifications_of_day = kept.notifications_of_day.saturating_add(count);
    }

    /// What was counted and is on disk, and the notifications of the day of `now`.
    pub fn read(&self, now: Millis) -> (Metering, u64) {
        let counts = self.counts();
        let (kept, saved) = (counts.kept, counts.saved);
        drop(counts);
        let today = kept.day == now.div_euclid(DAY);
        (saved, if today { kept.notifications_of_day } else { 0 })
    }

    /// What the store is to keep.
    pub fn kept(&self) -> Kept {
        self.counts().kept
    }

    /// `kept` is on disk, and it is confirmed that the store is ours.
    pub(crate) fn saved(&self, kept: Kept) {
        self.counts().saved = kept.metering;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn byte_seconds_add_up_over_ticks_of_any_length_and_over_restarts() {
        let present = Present { limit: 1000, store: 3, connections: 1 };
        let meter = Meter::default();
        meter.begin(None, 5_000);
        meter.tick(present);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_millis(150)).await;
            meter.tick(present);
        }
        let after = Meter::default();
        let json = serde_json::to_string(&meter.kept()).expect("json");
        after.begin(Some(serde_json::from_str(&json).expect("json")), 99_000);
        after.tick(present);
        tokio::time::advance(Duration::from_millis(1500)).await;
        after.tick(present);
        assert_eq!(after.read(99_000).0, meter.kept().metering, "what is not on disk is not told");
        after.saved(after.kept());
        let (metering, _) = after.read(99_000);
        assert_eq!(metering.since, 5, "counting began with the first start");
        assert_eq!(metering.limit_byte_seconds, 3000);
        assert_eq!(metering.store_byte_seconds, 8, "4.5 twice, and only whole ones are kept");
        assert_eq!(metering.connection_seconds, 2);
    }

    #[test]
    fn notifications_of_today_begin_anew_at_midnight_utc() {
        let meter = Meter::default();
        meter.notified(3, DAY - 1);
        assert_eq!(meter.read(DAY - 1).1, 3);
        assert_eq!(meter.read(DAY).1, 0);
        meter.notified(2, DAY);
        meter.saved(meter.kept());
        let (metering, today) = meter.read(DAY);
        assert_eq!((metering.notifications, today), (5, 2));
    }
}
