//! `notify:status`, `notify:list`, `notify:fetch` and `notify:remove` (reference page section 2.13).

use super::notify::id;
use super::{Notify, NotifyAll};
use crate::error::{AtError, ErrorCode};
use crate::key::strip_tag;
use crate::metadata::Millis;
use crate::time;

/// What begins with `notify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notifying {
    /// Tells one atSign.
    One(Notify),
    /// Tells several.
    All(NotifyAll),
    /// How far the one of this id has come.
    Status(String),
    /// What was received.
    List(NotificationList),
    /// All that is known of the one of this id.
    Fetch(String),
    /// Forgets the one of this id.
    Remove(String),
}

/// Lists what was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationList {
    /// From this time on.
    pub from: Option<Millis>,
    /// Until this time.
    pub to: Option<Millis>,
    /// Only those whose key or sender has this in it.
    pub regex: Option<String>,
}

impl Notifying {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        if text.eq_ignore_ascii_case("list") {
            return Ok(Self::List(NotificationList::default()));
        }
        if let Some(rest) = strip_tag(text, "list") {
            return NotificationList::parse(rest).map(Self::List);
        }
        if let Some(rest) = strip_tag(text, "status") {
            return Ok(Self::Status(id(rest)?.to_owned()));
        }
        if let Some(rest) = strip_tag(text, "fetch") {
            return Ok(Self::Fetch(id(rest)?.to_owned()));
        }
        if let Some(rest) = strip_tag(text, "remove") {
            return Ok(Self::Remove(id(rest)?.to_owned()));
        }
        if let Some(rest) = strip_tag(text, "all") {
            return NotifyAll::parse(rest).map(Self::All);
        }
        Notify::parse(text).map(Self::One)
    }
}

impl NotificationList {
    fn parse(text: &str) -> Result<Self, AtError> {
        let mut list = Self::default();
        let mut rest = Some(text);
        for end_of_day in [false, true] {
            let Some(text) = rest else { break };
            let (word, behind) = match text.split_once(':') {
                Some((word, behind)) => (word, Some(behind)),
                None => (text, None),
            };
            let Some(day) = day(word) else { break };
            if end_of_day {
                list.to = Some(day + 86_400_000 - 1);
            } else {
                list.from = Some(day);
            }
            rest = behind;
        }
        if let (Some(from), Some(to)) = (list.from, list.to)
            && to < from
        {
            let text = "Invalid range. To date is before from date";
            return Err(AtError::new(ErrorCode::IllegalArgument, text));
        }
        list.regex = rest.filter(|regex| !regex.is_empty()).map(str::to_owned);
        Ok(list)
    }
}

/// The first moment of `YYYY-MM-DD`.
fn day(text: &str) -> Option<Millis> {
    let is_date = text.len() == 10 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    is_date.then(|| time::parse(&format!("{text}T00:00:00Z"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_dates_and_a_regex() {
        let list = |text: &str| NotificationList::parse(text).expect(text);
        assert_eq!(list("2024-05-05").from, Some(1_714_867_200_000));
        let both = list("2024-05-05:2024-05-05:a:b");
        assert_eq!((both.to, both.regex.as_deref()), (Some(1_714_867_200_000 + 86_399_999), Some("a:b")));
        assert_eq!(list(".wavi").regex.as_deref(), Some(".wavi"));
        let refused = NotificationList::parse("2024-05-05:2024-05-04").expect_err("backwards");
        assert_eq!(refused.code(), ErrorCode::IllegalArgument);
    }

    #[test]
    fn the_forms_are_told_apart() {
        assert_eq!(Notifying::parse("status:a-1"), Ok(Notifying::Status("a-1".into())));
        assert_eq!(Notifying::parse("remove:a"), Ok(Notifying::Remove("a".into())));
        assert_eq!(Notifying::parse("List"), Ok(Notifying::List(NotificationList::default())));
        assert!(matches!(Notifying::parse("@bob:status@alice"), Ok(Notifying::One(_))));
        assert!(matches!(Notifying::parse("all:@bob:k@alice"), Ok(Notifying::All(_))));
        assert!(Notifying::parse("status:").is_err());
    }
}
