//! What holds back whoever guesses passcodes (reference page section 2.21).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Answers that are delayed at a time. A stranger's connection cannot be sent away while its answer is delayed, so
/// there must not be many of them.
const DELAYED: usize = 16;

/// The delays of one server: 1, 2, 3, 5, … seconds, shared by everybody who guesses.
pub(crate) struct Guesses {
    series: Mutex<Series>,
    places: Semaphore,
}

#[derive(Default)]
struct Series {
    last: Option<Instant>,
    delay: Duration,
    next: Duration,
}

impl Default for Guesses {
    fn default() -> Self {
        let series = Series::default();
        Self { series: Mutex::new(series), places: Semaphore::new(DELAYED) }
    }
}

impl Guesses {
    /// Waits out the delay of a wrong passcode, which is never longer than `longest`; without a wrong one for that long
    /// the delays begin anew. False where too many wait already: then the connection is to end.
    pub(crate) async fn wrong(&self, longest: Duration) -> bool {
        let delay = self.series.lock().unwrap_or_else(PoisonError::into_inner).next(longest, Instant::now());
        let Ok(_place) = self.places.try_acquire() else { return false };
        tokio::time::sleep(delay).await;
        true
    }
}

impl Series {
    fn next(&mut self, longest: Duration, now: Instant) -> Duration {
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > longest) {
            (self.delay, self.next) = (Duration::from_secs(1), Duration::from_secs(2));
        } else {
            (self.delay, self.next) = (self.next, self.delay + self.next);
        }
        (self.delay, self.next) = (self.delay.min(longest), self.next.min(longest));
        self.last = Some(now);
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(55);

    #[test]
    fn each_wrong_passcode_takes_longer_until_there_was_none_for_a_while() {
        let mut series = Series::default();
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..11 {
            delays.push(series.next(LONGEST, now).as_secs());
            now += Duration::from_secs(55);
        }
        assert_eq!(delays, [1, 2, 3, 5, 8, 13, 21, 34, 55, 55, 55]);
        assert_eq!(series.next(LONGEST, now + Duration::from_secs(1)).as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_few_answers_are_delayed_at_a_time() {
        let guesses = Guesses::default();
        let delayed: Vec<_> = (0..DELAYED).map(|_| guesses.places.try_acquire().expect("a place")).collect();
        assert!(!guesses.wrong(LONGEST).await);
        drop(delayed);
        assert!(guesses.wrong(LONGEST).await);
    }
}
