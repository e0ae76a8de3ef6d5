//! How soon something is looked at again that passes by itself and that no watch tells of: the longer it lasts, the later.
//! What passes does so soon, and of a thousand AtSigns that wait for the same, each may ask the API server little.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first waits.
const SHORTEST: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST: Duration = Duration::from_mins(1);

/// What AtSigns wait for, and since when, by namespace and name.
#[derive(Debug, Default)]
pub struct Patience {
    waits: Mutex<HashMap<(String, String), Wait>>,
}

#[derive(Debug)]
struct Wait {
    reason: String,
    /// Of the AtSign: who changes it starts anew.
    generation: Option<i64>,
    since: Instant,
}

impl Patience {
    /// How soon to look again at an AtSign of this generation that waits for `reason`.
    pub fn wait(&self, namespace: &str, name: &str, generation: Option<i64>, reason: &str) -> Duration {
        let key = (namespace.to_owned(), name.to_owned());
        let mut waits = self.waits();
        if let Some(wait) = waits.get(&key)
            && (wait.reason.as_str(), wait.generation) == (reason, generation)
        {
            return after(wait.since.elapsed());
        }
        waits.insert(key, Wait { reason: reason.to_owned(), generation, since: Instant::now() });
        SHORTEST
    }

    /// It waits for nothing of that kind, or is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.waits().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn waits(&self) -> MutexGuard<'_, HashMap<(String, String), Wait>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An eighth of the time that it has lasted.
fn after(lasted: Duration) -> Duration {
    (lasted / 8).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_looked_at_less_often() {
        for (lasted, expected) in [(0, 2), (10, 2), (40, 5), (240, 30), (86_400, 60)] {
            assert_eq!(after(Duration::from_secs(lasted)), Duration::from_secs(expected), "after {lasted} s");
        }
    }

    #[test]
    fn who_waits_for_something_else_starts_anew() {
        let patience = Patience::default();
        let since = || patience.waits()[&("home".to_owned(), "alice".to_owned())].since;
        patience.wait("home", "alice", Some(1), "WaitingForService");
        let first = since();
        patience.wait("home", "alice", Some(1), "WaitingForService");
        assert_eq!(since(), first, "the same wait goes on");
        patience.wait("home", "alice", Some(1), "WaitingForCertificate");
        let second = since();
        assert!(second > first, "another reason");
        patience.wait("home", "alice", Some(2), "WaitingForCertificate");
        assert!(since() > second, "another generation");
        patience.forget("home", "alice");
        assert!(patience.waits().is_empty());
    }
}
