//! Signatures that another server is about to fetch, to see that it was we who called it (reference page section 3.8).
//!
//! They are good for one handshake and are gone with it, so they are kept in memory and not in the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The signatures by the name that they are looked up by, `_<session>`.
#[derive(Clone, Default)]
pub(crate) struct Proofs(Arc<Mutex<HashMap<String, String>>>);

/// A signature that can be looked up while this lives.
pub(super) struct Shown {
    name: String,
    proofs: Proofs,
}

impl Proofs {
    /// The signature of that name, if there is one now.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.signatures().get(name).cloned()
    }

    pub(super) fn show(&self, name: &str, signature: String) -> Shown {
        // Keys are looked up in lower case.
        let name = name.to_lowercase();
        self.signatures().insert(name.clone(), signature);
        Shown { name, proofs: self.clone() }
    }

    fn signatures(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.proofs.signatures().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_can_be_looked_up_during_its_handshake_only() {
        let proofs = Proofs::default();
        let shown = proofs.show("_S1", "signed".into());
        assert_eq!(proofs.get("_s1").as_deref(), Some("signed"));
        drop(shown);
        assert_eq!(proofs.get("_s1"), None);
    }
}
