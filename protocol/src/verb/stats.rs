//! `stats[:<id>[,<id>…]][:<regex>]` (reference page section 2.15).

use crate::error::{AtError, ErrorCode};

/// Tells figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Which, in the order asked for.
    pub figures: Vec<Figure>,
    /// For the last commit id: only keys in which this is found.
    pub regex: Option<String>,
}

/// A figure that this server knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// 3: the last commit id.
    LastCommitId,
    /// 4: bytes on disk.
    StorageSize,
    /// 7: the version.
    Version,
}

impl Figure {
    /// Every figure, in the order of their ids.
    pub const ALL: [Self; 3] = [Self::LastCommitId, Self::StorageSize, Self::Version];

    /// Its number in the protocol.
    pub fn id(self) -> u32 {
        match self {
            Self::LastCommitId => 3,
            Self::StorageSize => 4,
            Self::Version => 7,
        }
    }

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastCommitId => "lastCommitID",
            Self::StorageSize => "secondaryStorageSize",
            Self::Version => "secondaryServerVersion",
        }
    }
}

impl Stats {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        if text.is_empty() {
            return Ok(Self { figures: Figure::ALL.to_vec(), regex: None });
        }
        let text = text.strip_prefix(':').ok_or_else(AtError::invalid_command)?;
        let (ids, regex) = match text.split_once(':') {
            Some((ids, regex)) => (ids, Some(regex)),
            None => (text, None),
        };
        let mut figures = Vec::new();
        for id in ids.split(',') {
            let figure = Self::figure(id)?;
            // So that no line makes an answer longer than the table of figures.
            if !figures.contains(&figure) {
                figures.push(figure);
            }
        }
        let regex = regex.filter(|regex| !regex.is_empty()).map(str::to_owned);
        if regex.is_some() && figures != [Figure::LastCommitId] {
            return Err(AtError::syntax("a regex stands after stats:3 only"));
        }
        Ok(Self { figures, regex })
    }

    fn figure(id: &str) -> Result<Figure, AtError> {
        let number: u32 = id
            .parse()
            .ok()
            .filter(|number| *number > 0 && id.bytes().all(|digit| digit.is_ascii_digit()))
            .ok_or_else(|| AtError::syntax("a stats id is a number from 1"))?;
        Figure::ALL.into_iter().find(|figure| figure.id() == number).ok_or_else(|| {
            AtError::new(
                ErrorCode::IllegalArgument,
                format!(
                    "stats {number} is not served: 3 (last commit id), 4 (storage size) and 7 (version) are"
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_alone_tells_every_figure() {
        assert_eq!(Stats::parse("").map(|stats| stats.figures), Ok(Figure::ALL.to_vec()));
    }

    #[test]
    fn figures_come_in_the_order_asked_for() {
        let stats = Stats::parse(":7,3").expect("two figures");
        assert_eq!(stats.figures, [Figure::Version, Figure::LastCommitId]);
        let stats = Stats::parse(":3:.*wavi").expect("a figure");
        assert_eq!(stats.regex.as_deref(), Some(".*wavi"));
    }

    #[test]
    fn other_ids_are_refused() {
        for (text, code) in [
            (":0", ErrorCode::InvalidSyntax),
            (":-1", ErrorCode::InvalidSyntax),
            (":+3", ErrorCode::InvalidSyntax),
            (":", ErrorCode::InvalidSyntax),
            (":3,", ErrorCode::InvalidSyntax),
            (":4:x", ErrorCode::InvalidSyntax),
            ("x", ErrorCode::InvalidSyntax),
            (":1", ErrorCode::IllegalArgument),
            (":99", ErrorCode::IllegalArgument),
        ] {
            assert_eq!(Stats::parse(text).map_err(|e| e.code()), Err(code), "{text}");
        }
    }
}
