//! Which keys have just expired: who asks for one is told `null`, as of one that is there and has expired, and not that there
//! never was one (reference page section 3.2). Their data is gone; what is kept is a number for each.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// For so long, milliseconds: the reference server sweeps every three minutes.
const REMEMBERED: i64 = 3 * 60 * 1000;

/// So many, the latest.
const MOST: usize = 1024;

/// The keys that have expired lately.
#[derive(Debug, Default)]
pub(super) struct Gone {
    hasher: RandomState,
    /// Each key's hash, and when it went, oldest first.
    keys: Mutex<VecDeque<(u64, i64)>>,
}

impl Gone {
    /// These have expired.
    pub(super) fn add<'a>(&self, keys: impl IntoIterator<Item = &'a str>, now: i64) {
        let mut gone = self.keys();
        while gone.front().is_some_and(|(_, since)| now - since > REMEMBERED) {
            gone.pop_front();
        }
        for key in keys {
            if gone.len() == MOST {
                gone.pop_front();
            }
            gone.push_back((self.hasher.hash_one(key), now));
        }
    }

    /// Whether a key that is not there expired lately.
    pub(super) fn has(&self, key: &str, now: i64) -> bool {
        let hash = self.hasher.hash_one(key);
        self.keys().iter().any(|(known, since)| *known == hash && now - since <= REMEMBERED)
    }

    /// Somebody has deleted a key himself.
    pub(super) fn forget(&self, key: &str) {
        let hash = self.hasher.hash_one(key);
        self.keys().retain(|(known, _)| *known != hash);
    }

    fn keys(&self) -> MutexGuard<'_, VecDeque<(u64, i64)>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_expired_lately_for_three_minutes_or_until_it_is_deleted() {
        let gone = Gone::default();
        gone.add(["a@alice", "b@alice"], 1000);
        assert!(gone.has("a@alice", 1000 + REMEMBERED) && !gone.has("c@alice", 1000));
        assert!(!gone.has("a@alice", 1001 + REMEMBERED));
        gone.forget("b@alice");
        assert!(!gone.has("b@alice", 1000));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let gone = Gone::default();
        let names: Vec<_> = (0..=MOST).map(|number| format!("k{number}@alice")).collect();
        gone.add(names.iter().map(String::as_str), 1);
        assert!(!gone.has("k0@alice", 1) && gone.has("k1@alice", 1));
        gone.add([], 2 + REMEMBERED);
        assert_eq!(gone.keys().len(), 0);
    }
}
