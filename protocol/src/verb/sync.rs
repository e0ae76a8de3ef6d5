//! `sync:from:<n>[:limit:<m>][:skipDeletesUntil:<n>][:<regex>]` (reference page section 2.16).

use crate::error::AtError;
use crate::key::strip_tag;

/// Tells what changed after a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Only commits after this one; -1 for all.
    pub from: i64,
    /// At most so many.
    pub limit: Option<usize>,
    /// Without the deletions up to this commit: a client that begins anew has nothing to delete.
    pub skip_deletes_until: Option<i64>,
    /// Only keys in which this is found, beside those that every client needs.
    pub regex: Option<String>,
}

impl Sync {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let rest = strip_tag(text, "from").ok_or_else(|| AtError::syntax("sync knows sync:from only"))?;
        let (from, mut rest) = number(rest)?;
        if from < -1 {
            return Err(AtError::syntax("sync begins at -1 at the earliest"));
        }
        let (mut limit, mut skip_deletes_until) = (None, None);
        while let Some(text) = rest {
            if let Some(text) = strip_tag(text, "limit").filter(|_| limit.is_none()) {
                let (most, after) = number(text)?;
                let most = usize::try_from(most).map_err(|_| AtError::syntax("limit is not negative"))?;
                (limit, rest) = (Some(most), after);
            } else if let Some(text) =
                strip_tag(text, "skipDeletesUntil").filter(|_| skip_deletes_until.is_none())
            {
                let (until, after) = number(text)?;
                (skip_deletes_until, rest) = (Some(until), after);
            } else {
                break;
            }
        }
        if rest == Some("") {
            return Err(AtError::syntax("sync ends with a colon"));
        }
        Ok(Self { from, limit, skip_deletes_until, regex: rest.map(str::to_owned) })
    }
}

/// A number and what follows its colon.
fn number(text: &str) -> Result<(i64, Option<&str>), AtError> {
    let (number, rest) = match text.split_once(':') {
        Some((number, rest)) => (number, Some(rest)),
        None => (text, None),
    };
    let number = number.parse().ok().filter(|_| !number.starts_with('+'));
    Ok((number.ok_or_else(|| AtError::syntax("sync has a number missing"))?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_deletes_and_regex_may_follow() {
        for (text, from, limit, until, regex) in [
            ("from:-1", -1, None, None, None),
            ("from:5:limit:10", 5, Some(10), None, None),
            ("FROM:5:Limit:10:.*wavi", 5, Some(10), None, Some(".*wavi")),
            ("from:5:limit:10:skipDeletesUntil:7:a:b", 5, Some(10), Some(7), Some("a:b")),
            ("from:5:skipDeletesUntil:7:limit:1", 5, Some(1), Some(7), None),
            ("from:5:wavi", 5, None, None, Some("wavi")),
        ] {
            let expected = Sync { from, limit, skip_deletes_until: until, regex: regex.map(str::to_owned) };
            assert_eq!(Sync::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_sync_is_refused() {
        for text in [
            "5",
            "5:regex",
            "from:",
            "from:-2",
            "from:x",
            "from:+1",
            "from:1:limit:",
            "from:1:limit:-1",
            "from:1:",
        ] {
            assert!(Sync::parse(text).is_err(), "{text}");
        }
    }
}
