//! What `config:set` changes: nothing but in testing mode (reference page section 2.18).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use atsign_protocol::verb::Setting;
use tokio::sync::Notify;

use crate::behaviour::Behaviour;

/// The settings of one server.
#[derive(Default)]
pub struct Settings {
    /// Whether clients may change them.
    pub testing: bool,
    /// What no client changes, but for what has a default here too.
    pub behaviour: Behaviour,
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
    pub fn new(testing: bool, behaviour: Behaviour) -> Self {
        let frame = u64::try_from(behaviour.enrollment_frame.as_millis()).unwrap_or(u64::MAX);
        let settings = Self { testing, behaviour, ..Self::default() };
        let Behaviour { auto_notify, enrollment_requests, notification_tries, .. } = settings.behaviour;
        let settings = settings
            .with_default(Setting::AutoNotify, auto_notify.into())
            .with_default(Setting::MaxRequestsPerTimeFrame, enrollment_requests)
            .with_default(Setting::TimeFrameInMillis, frame);
        match notification_tries {
            Some(tries) => settings.with_default(Setting::MaxNotificationRetries, tries),
            None => settings,
        }
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

    /// How often the delivery of a notification is tried; until it expires where nobody said so.
    pub(crate) fn notification_tries(&self) -> Option<u64> {
        self.changed(Setting::MaxNotificationRetries).or(self.behaviour.notification_tries)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_setting_gets_back_what_the_server_was_started_with() {
        let behaviour = Behaviour { auto_notify: false, enrollment_requests: 7, ..Behaviour::default() };
        let settings = Settings::new(true, behaviour);
        assert_eq!(settings.get(Setting::AutoNotify), 0);
        settings.set(Setting::AutoNotify, Some(1));
        assert_eq!(settings.get(Setting::AutoNotify), 1);
        settings.set(Setting::AutoNotify, None);
        assert_eq!(settings.get(Setting::AutoNotify), 0);
        assert_eq!(settings.get(Setting::MaxRequestsPerTimeFrame), 7);
        assert_eq!(settings.get(Setting::TimeFrameInMillis), 3_600_000);
    }

    #[test]
    fn deliveries_are_tried_without_end_until_somebody_names_a_number() {
        let settings = Settings::default();
        assert_eq!(settings.notification_tries(), None);
        settings.set(Setting::MaxNotificationRetries, Some(2));
        assert_eq!(settings.notification_tries(), Some(2));
    }
}
