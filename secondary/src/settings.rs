//! What `config:set` changes: nothing but in testing mode (reference page section 2.18).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use atsign_protocol::verb::Setting;

/// The settings of one server.
#[derive(Default)]
pub struct Settings {
    /// Whether clients may change them.
    pub testing: bool,
    changed: Mutex<BTreeMap<Setting, u64>>,
}

impl Settings {
    /// Settings that clients may change, or may not.
    pub fn new(testing: bool) -> Self {
        Self { testing, changed: Mutex::default() }
    }

    /// What holds; 1 is true.
    pub fn get(&self, setting: Setting) -> u64 {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get(&setting).copied().unwrap_or(setting.default())
    }

    /// Changes one; `None` gives it its default back.
    pub(crate) fn set(&self, setting: Setting, value: Option<u64>) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => changed.insert(setting, value),
            None => changed.remove(&setting),
        };
    }
}
