//! How the server behaves with notifications, enrollments and copies, as it was told when it was started (reference
//! page section 5).

use std::time::Duration;

use atsign_protocol::Millis;
use atsign_protocol::enrollment::PENDING_TTL;

/// How the server was told to behave when it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Whether a change of a shared key is told to its recipient.
    pub auto_notify: bool,
    /// How long a notification is worth delivering where its sender does not say, milliseconds.
    pub notification_ttln: Millis,
    /// How often the delivery of one is tried; until it expires where nothing is said.
    pub notification_tries: Option<u64>,
    /// The longest pause after a failed delivery, milliseconds.
    pub longest_pause: Millis,
    /// How often monitors are told statistics beside when something changes; never again where nothing is said.
    pub statistics_every: Option<Duration>,
    /// Enrollment requests of one connection within the time frame.
    pub enrollment_requests: u64,
    /// That time frame.
    pub enrollment_frame: Duration,
    /// How long a request waits for its approval, milliseconds.
    pub enrollment_ttl: Millis,
    /// The longest delay of the answer to a wrong passcode.
    pub longest_delay: Duration,
    /// The hour of the day, UTC, in which copies are refreshed; a day after the start, and each day after that, where
    /// nothing is said.
    pub refresh_hour: Option<u8>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            auto_notify: true,
            notification_ttln: 24 * 60 * 60 * 1000,
            notification_tries: None,
            longest_pause: 10_000,
            statistics_every: Some(Duration::from_secs(15)),
            enrollment_requests: 5,
            enrollment_frame: Duration::from_hours(1),
            enrollment_ttl: PENDING_TTL,
            longest_delay: Duration::from_secs(55),
            refresh_hour: None,
        }
    }
}
