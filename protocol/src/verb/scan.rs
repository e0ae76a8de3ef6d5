//! `scan[:cl][:showhidden:(true|false)][:@ATSIGN][:page:<n>][ <regex>]` (reference page section 2.5).

use crate::at_sign::AtSign;
use crate::error::AtError;
use crate::key::{at_sign, strip_tag};

/// Lists keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// What the commit log says of the keys, and not what is stored.
    pub log: bool,
    /// Also the hidden keys, for the owner.
    pub show_hidden: bool,
    /// The keys that another atSign's server shows.
    pub of: Option<AtSign>,
    /// Only keys in which this is found.
    pub regex: Option<String>,
}

impl Scan {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (fields, regex) = match text.split_once(char::is_whitespace) {
            Some((fields, regex)) => (fields, Some(regex.trim())),
            None => (text, None),
        };
        if regex.is_some_and(|regex| regex.contains(char::is_whitespace)) {
            return Err(AtError::syntax("the regex of a scan has no spaces"));
        }
        let mut scan =
            Self { regex: regex.filter(|regex| !regex.is_empty()).map(str::to_owned), ..Self::default() };
        let mut rest = fields;
        while !rest.is_empty() {
            let field = rest.strip_prefix(':').ok_or_else(AtError::invalid_command)?;
            let end = |text: &str| text.find(':').unwrap_or(text.len());
            if let Some(flag) = strip_tag(field, "showhidden") {
                let end = end(flag);
                scan.show_hidden = if flag[..end].eq_ignore_ascii_case("true") {
                    true
                } else if flag[..end].eq_ignore_ascii_case("false") {
                    false
                } else {
                    return Err(AtError::syntax("showhidden is neither true nor false"));
                };
                rest = &flag[end..];
            } else if let Some(page) = strip_tag(field, "page") {
                let end = end(page);
                // Read and ignored, as the reference server does.
                if end == 0 || !page[..end].bytes().all(|digit| digit.is_ascii_digit()) {
                    return Err(AtError::syntax("page is no number"));
                }
                rest = &page[end..];
            } else {
                let end = end(field);
                match &field[..end] {
                    other if other.starts_with('@') && scan.of.is_none() => scan.of = Some(at_sign(other)?),
                    log if log.eq_ignore_ascii_case("cl") => scan.log = true,
                    _ => return Err(AtError::syntax("scan knows cl, showhidden, page and one atSign")),
                }
                rest = &field[end..];
            }
        }
        if scan.log && scan.of.is_some() {
            return Err(AtError::syntax("the commit log of another atSign cannot be scanned"));
        }
        Ok(scan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        Scan::parse(text).expect(text)
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(scan(""), Scan::default());
        assert_eq!(scan(" ^public:x"), Scan { regex: Some("^public:x".into()), ..Scan::default() });
        assert_eq!(scan(":showHidden:true"), Scan { show_hidden: true, ..Scan::default() });
        assert_eq!(
            scan(":showhidden:True:@bob:page:2 MyRegex"),
            Scan {
                show_hidden: true,
                of: AtSign::parse("bob").ok(),
                regex: Some("MyRegex".into()),
                ..Scan::default()
            }
        );
        assert_eq!(scan(":cl"), Scan { log: true, ..Scan::default() });
    }

    #[test]
    fn what_is_no_scan_is_refused() {
        for text in [
            "@",
            ":",
            ":@",
            ":x",
            ":showhidden:",
            ":showhidden:1",
            ":page:",
            ":page:x",
            " a b",
            ":@a:@b",
            ":cl:@a",
        ] {
            assert!(Scan::parse(text).is_err(), "{text}");
        }
    }
}
