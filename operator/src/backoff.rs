//! How long an AtSign that failed waits before it is tried again: each for itself, longer each time, with jitter.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng as _;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait, before jitter.
const LONGEST: Duration = Duration::from_mins(5);

/// Counts the failures in a row of each AtSign, by namespace and name.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<(String, String), u32>>,
}

impl Backoff {
    /// Notes a failure and returns how long to wait: 1 s doubled for each failure before, at most 5 minutes, and up to a
    /// quarter more or less, so that what failed together does not come back together.
    pub fn failed(&self, namespace: &str, name: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry((namespace.to_owned(), name.to_owned())).or_default();
        let wait = FIRST.saturating_mul(1 << (*count).min(16)).min(LONGEST);
        *count = count.saturating_add(1);
        jittered(wait)
    }

    /// Forgets the failures of an AtSign: it was reconciled, or is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// How many AtSigns wait after a failure.
    pub fn waiting(&self) -> usize {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// `wait` and up to a quarter more or less.
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_five_minutes() {
        let backoff = Backoff::default();
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let wait = backoff.failed("home", "alice").as_secs_f64();
            let expected = f64::from(expected);
            assert!((expected * 0.75..expected * 1.25).contains(&wait), "{wait} for {expected}");
        }
    }

    #[test]
    fn a_success_starts_again_and_others_are_not_concerned() {
        let backoff = Backoff::default();
        for _ in 0..9 {
            backoff.failed("home", "alice");
        }
        assert!(backoff.failed("home", "bob") < Duration::from_secs(2));
        backoff.forget("home", "alice");
        assert!(backoff.failed("home", "alice") < Duration::from_secs(2));
        backoff.forget("home", "alice");
        backoff.forget("home", "bob");
        assert_eq!(backoff.waiting(), 0);
    }
}
