//! `monitor[:strict][:selfNotifications][:multiplexed][:<epochMillis>][ <regex>]` (reference page section 2.14).

use crate::error::AtError;
use crate::metadata::Millis;

/// Has notifications written to the connection as they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Monitor {
    /// Without statistics that the regex does not match.
    pub strict: bool,
    /// Also what the atSign's own clients tell each other.
    pub self_notifications: bool,
    /// First those that came after this time.
    pub since: Option<Millis>,
    /// Only those whose key, or whose sender without its `@`, has this in it.
    pub regex: Option<String>,
}

impl Monitor {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (fields, regex) = match text.split_once(char::is_whitespace) {
            Some((fields, regex)) => (fields, Some(regex.trim())),
            None => (text, None),
        };
        let regex = regex.filter(|regex| !regex.is_empty()).map(str::to_owned);
        let mut monitor = Self { regex, ..Self::default() };
        for field in fields.split(':').skip(1) {
            if field.eq_ignore_ascii_case("strict") {
                monitor.strict = true;
            } else if field.eq_ignore_ascii_case("selfNotifications") {
                monitor.self_notifications = true;
            } else if field.eq_ignore_ascii_case("multiplexed") {
                // What it would change is the same here with and without it: commands are answered in between.
            } else if monitor.since.is_none() && field.bytes().all(|digit| digit.is_ascii_digit()) {
                monitor.since = Some(field.parse().map_err(|_| AtError::syntax("epochMillis is no time"))?);
            } else {
                return Err(AtError::syntax(
                    "monitor knows strict, selfNotifications, multiplexed and a time",
                ));
            }
        }
        Ok(monitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(Monitor::parse(""), Ok(Monitor::default()));
        let monitor = Monitor::parse(":strict:selfnotifications:multiplexed:17 a:b c").expect("a monitor");
        assert!(monitor.strict && monitor.self_notifications);
        assert_eq!((monitor.since, monitor.regex.as_deref()), (Some(17), Some("a:b c")));
        assert_eq!(Monitor::parse(":0").map(|monitor| monitor.since), Ok(Some(0)));
    }

    #[test]
    fn other_fields_are_refused() {
        for text in [":", ":x", ":-1", ":1:2", ":99999999999999999999"] {
            assert!(Monitor::parse(text).is_err(), "{text}");
        }
    }
}
