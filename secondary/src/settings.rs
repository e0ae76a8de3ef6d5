//! What `config:set` changes: nothing but in testing mode (reference page section 2.18).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use atsign_protocol::verb::Setting;
use tokio::sync::Notify;

/// The settings of one server.
#[derive(Default)]
pub struct Settings {
    /// Whether clients may change them.
    pub testing: bool,
    /// What holds while a client has not changed it, where that is not [`Setting::default`].
    defaults: BTreeMap<Setting, u64>,
    changed: Mutex<BTreeMap<Setting, u64>>,
    /// A client wants stale copies of other atSigns' keys to be fetched again.
    pub(crate) refresh_now: Notify,
    /// A client has changed how often the logs are compacted.
    pub(crate) compaction_changed: Notify,
}

impl Settings {
    /// Settings that clients may change, or may not.
    pub fn new(testing: bool) -> Self {
        Self { testing, ..Self::default() }
    }

    /// The same with another default.
    #[must_use]
    pub fn with_default(mut self, setting: Setting, value: u64) -> Self {
        self.defaults.insert(setting, value);
        self
    }

    /// What holds; 1 is true.
    pub fn get(&self, setting: Setting) -> u64 {
        let default = || self.defaults.get(&setting).copied().unwrap_or(setting.default());
        self.changed(setting).unwrap_or_else(default)
    }

    /// What a client has set it to, if one has.
    pub(crate) fn changed(&self, setting: Setting) -> Option<u64> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).get(&setting).copied()
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
