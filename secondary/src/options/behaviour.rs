//! What the server is told of notifications, enrollments and copies.

use std::time::Duration;

use clap::Args;

use super::{UsageError, truth, wrong};
use crate::behaviour::Behaviour;

/// The flags, as given.
#[derive(Debug, Default, Args)]
pub struct BehaviourFlags {
    /// Whether the recipient of a shared key is notified when it changes, true or false [default: true] [env of the
    /// reference server: autoNotify]
    #[arg(long, value_name = "BOOL")]
    pub auto_notify: Option<String>,
    /// Minutes that a notification is worth delivering where its sender does not say [default: 1440] [env of the
    /// reference server: notificationExpiryInMins]
    #[arg(long, value_name = "MINUTES")]
    pub notification_expiry: Option<String>,
    /// How often the delivery of a notification is tried [default: until it expires] [env of the reference server:
    /// maxNotificationRetries]
    #[arg(long, value_name = "NUMBER")]
    pub notification_tries: Option<String>,
    /// Seconds of the longest pause after a failed delivery [default: 10] [env of the reference server:
    /// notificationQuarantineDuration]
    #[arg(long, value_name = "SECONDS")]
    pub notification_pause: Option<String>,
    /// Seconds between the statistics that monitors are told, beside after each change; a negative number: none at all
    /// [default: 15] [env of the reference server: statsNotificationJobTimeInterval]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub statistics_interval: Option<String>,
    /// Enrollment requests of one connection within the time frame [default: 5] [env of the reference server:
    /// maxEnrollRequestsAllowed]
    #[arg(long, value_name = "NUMBER")]
    pub enrollment_requests: Option<String>,
    /// That time frame, hours [default: 1] [env of the reference server: enrollTimeFrameInHours]
    #[arg(long, value_name = "HOURS")]
    pub enrollment_time_frame: Option<String>,
    /// Hours that an enrollment request waits for its approval [default: 48] [env of the reference server:
    /// enrollmentExpiryInHours]
    #[arg(long, value_name = "HOURS")]
    pub enrollment_expiry: Option<String>,
    /// Seconds of the longest delay of the answer to a wrong passcode [default: 55] [env of the reference server:
    /// enrollmentDelayIntervalThreshold]
    #[arg(long, value_name = "SECONDS")]
    pub passcode_delay: Option<String>,
    /// Hour of the day, UTC, in which copies of other atSigns' data are refreshed [default: a day after the start] [env
    /// of the reference server: runRefreshJobHour]
    #[arg(long, value_name = "HOUR")]
    pub refresh_hour: Option<String>,
}

impl BehaviourFlags {
    /// Resolves them. `pick` chooses among a flag, our variable and that of the reference server.
    pub(super) fn resolve(
        self,
        pick: impl Fn(Option<String>, &str, Option<&str>) -> Option<String>,
    ) -> Result<Behaviour, UsageError> {
        let default = Behaviour::default();
        let number = |name, flag, ours: &str, theirs: &str, most: u64| {
            pick(flag, ours, Some(theirs)).map(|text| number(name, &text, most)).transpose()
        };
        let auto_notify = pick(self.auto_notify, "ATSIGN_AUTO_NOTIFY", Some("autoNotify"));
        let statistics = pick(
            self.statistics_interval,
            "ATSIGN_STATISTICS_INTERVAL",
            Some("statsNotificationJobTimeInterval"),
        );
        Ok(Behaviour {
            auto_notify: auto_notify.map_or(Ok(true), |text| truth("--auto-notify", &text))?,
            notification_ttln: number(
                "--notification-expiry",
                self.notification_expiry,
                "ATSIGN_NOTIFICATION_EXPIRY",
                "notificationExpiryInMins",
                MONTH / 60,
            )?
            .map_or(default.notification_ttln, |minutes| millis(minutes * 60)),
            notification_tries: number(
                "--notification-tries",
                self.notification_tries,
                "ATSIGN_NOTIFICATION_TRIES",
                "maxNotificationRetries",
                u32::MAX.into(),
            )?,
            longest_pause: number(
                "--notification-pause",
                self.notification_pause,
                "ATSIGN_NOTIFICATION_PAUSE",
                "notificationQuarantineDuration",
                DAY,
            )?
            .map_or(default.longest_pause, millis),
            statistics_every: statistics
                .map_or(Ok(default.statistics_every), |text| statistics_interval(&text))?,
            enrollment_requests: number(
                "--enrollment-requests",
                self.enrollment_requests,
                "ATSIGN_ENROLLMENT_REQUESTS",
                "maxEnrollRequestsAllowed",
                1000,
            )?
            .unwrap_or(default.enrollment_requests),
            enrollment_frame: number(
                "--enrollment-time-frame",
                self.enrollment_time_frame,
                "ATSIGN_ENROLLMENT_TIME_FRAME",
                "enrollTimeFrameInHours",
                MONTH / 3600,
            )?
            .map_or(default.enrollment_frame, Duration::from_hours),
            enrollment_ttl: number(
                "--enrollment-expiry",
                self.enrollment_expiry,
                "ATSIGN_ENROLLMENT_EXPIRY",
                "enrollmentExpiryInHours",
                MONTH / 3600,
            )?
            .map_or(default.enrollment_ttl, |hours| millis(hours * 3600)),
            longest_delay: number(
                "--passcode-delay",
                self.passcode_delay,
                "ATSIGN_PASSCODE_DELAY",
                "enrollmentDelayIntervalThreshold",
                3600,
            )?
            .map_or(default.longest_delay, Duration::from_secs),
            refresh_hour: refresh_hour(pick(
                self.refresh_hour,
                "ATSIGN_REFRESH_HOUR",
                Some("runRefreshJobHour"),
            ))?,
        })
    }
}

/// Seconds.
const DAY: u64 = 24 * 60 * 60;
const MONTH: u64 = 30 * DAY;

fn number(name: &'static str, text: &str, most: u64) -> Result<u64, UsageError> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| wrong(name, format!("{text:?} is not a number from 1 to {most}")))
}

fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds).map_or(i64::MAX, |seconds| seconds.saturating_mul(1000))
}

/// Nothing for a negative number.
fn statistics_interval(text: &str) -> Result<Option<Duration>, UsageError> {
    let seconds: i64 = text.parse().ok().filter(|seconds| *seconds != 0).ok_or_else(|| {
        wrong("--statistics-interval", format!("{text:?} is not a number of seconds other than 0"))
    })?;
    Ok(u64::try_from(seconds).ok().map(|seconds| Duration::from_secs(seconds.min(MONTH))))
}

fn refresh_hour(text: Option<String>) -> Result<Option<u8>, UsageError> {
    let hour = |text: String| {
        let hour = text.parse().ok().filter(|hour| *hour < 24);
        hour.ok_or_else(|| wrong("--refresh-hour", format!("{text:?} is not an hour from 0 to 23")))
    };
    text.map(hour).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str, value: &str) -> Result<Behaviour, UsageError> {
        BehaviourFlags::default().resolve(|flag, ours, theirs| {
            flag.or_else(|| (ours == name || theirs == Some(name)).then(|| value.to_owned()))
        })
    }

    #[test]
    fn the_reference_servers_variables_say_what_ours_say() {
        let default = Behaviour::default;
        for (theirs, ours, value, expected) in [
            ("autoNotify", "ATSIGN_AUTO_NOTIFY", "false", Behaviour { auto_notify: false, ..default() }),
            (
                "notificationExpiryInMins",
                "ATSIGN_NOTIFICATION_EXPIRY",
                "15",
                Behaviour { notification_ttln: 900_000, ..default() },
            ),
            (
                "maxNotificationRetries",
                "ATSIGN_NOTIFICATION_TRIES",
                "30",
                Behaviour { notification_tries: Some(30), ..default() },
            ),
            (
                "notificationQuarantineDuration",
                "ATSIGN_NOTIFICATION_PAUSE",
                "2",
                Behaviour { longest_pause: 2000, ..default() },
            ),
            (
                "statsNotificationJobTimeInterval",
                "ATSIGN_STATISTICS_INTERVAL",
                "-1",
                Behaviour { statistics_every: None, ..default() },
            ),
            (
                "maxEnrollRequestsAllowed",
                "ATSIGN_ENROLLMENT_REQUESTS",
                "9",
                Behaviour { enrollment_requests: 9, ..default() },
            ),
            (
                "enrollTimeFrameInHours",
                "ATSIGN_ENROLLMENT_TIME_FRAME",
                "2",
                Behaviour { enrollment_frame: Duration::from_hours(2), ..default() },
            ),
            (
                "enrollmentExpiryInHours",
                "ATSIGN_ENROLLMENT_EXPIRY",
                "1",
                Behaviour { enrollment_ttl: 3_600_000, ..default() },
            ),
            (
                "enrollmentDelayIntervalThreshold",
                "ATSIGN_PASSCODE_DELAY",
                "5",
                Behaviour { longest_delay: Duration::from_secs(5), ..default() },
            ),
            (
                "runRefreshJobHour",
                "ATSIGN_REFRESH_HOUR",
                "0",
                Behaviour { refresh_hour: Some(0), ..default() },
            ),
        ] {
            for name in [theirs, ours] {
                assert_eq!(resolve(name, value), Ok(expected.clone()), "{name}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_flag() {
        for (variable, value, flag) in [
            ("autoNotify", "maybe", "--auto-notify"),
            ("notificationExpiryInMins", "0", "--notification-expiry"),
            ("maxNotificationRetries", "-1", "--notification-tries"),
            ("notificationQuarantineDuration", "soon", "--notification-pause"),
            ("statsNotificationJobTimeInterval", "0", "--statistics-interval"),
            ("maxEnrollRequestsAllowed", "1001", "--enrollment-requests"),
            ("enrollTimeFrameInHours", "721", "--enrollment-time-frame"),
            ("enrollmentExpiryInHours", "", "--enrollment-expiry"),
            ("enrollmentDelayIntervalThreshold", "0", "--passcode-delay"),
            ("runRefreshJobHour", "24", "--refresh-hour"),
        ] {
            assert_eq!(resolve(variable, value).map_err(|error| error.name), Err(flag), "{variable}");
        }
    }
}
