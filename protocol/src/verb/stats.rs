//! `stats[:<id>[,<id>…]][:<regex>]` (reference page section 2.15).

use crate::error::AtError;

/// Tells figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Which, in the order asked for.
    pub figures: Vec<Figure>,
    /// For what is told of the commit log: only keys in which this is found.
    pub regex: Option<String>,
}

/// Declares the figures once: variant, id, name.
macro_rules! figures {
    ($($(#[$doc:meta])* $variant:ident, $id:literal, $name:literal;)*) => {
        /// A figure that a server knows of itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Figure { $($(#[$doc])* $variant,)* }

        impl Figure {
            /// Every figure, in the order of their ids.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its number in the protocol.
            pub fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }

            /// Its name in answers.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

figures! {
    /// Connections of clients.
    InboundConnections, 1, "activeInboundConnections";
    /// Connections to other servers.
    OutboundConnections, 2, "activeOutboundConnections";
    /// The last commit id.
    LastCommitId, 3, "lastCommitID";
    /// Bytes on disk.
    StorageSize, 4, "secondaryStorageSize";
    /// Who came most often.
    TopAtSigns, 5, "topAtSigns";
    /// What was looked up most often.
    TopKeys, 6, "topKeys";
    /// The version.
    Version, 7, "secondaryServerVersion";
    /// The last entry of the access log.
    LastLoggedIn, 8, "LastLoggedInDatetime";
    /// Bytes on disk, in a unit that fits.
    DiskSize, 9, "diskSize";
    /// Never told by the reference server either.
    LastPkam, 10, "LastPkam";
    /// Notifications by type, state and operation.
    NotificationCount, 11, "NotificationCount";
    /// The last compaction of the commit log.
    CommitLogCompaction, 12, "CommitLogCompactionStats";
    /// The last compaction of the access log.
    AccessLogCompaction, 13, "AccessLogCompactionStats";
    /// The last compaction of the notifications.
    NotificationCompaction, 14, "NotificationCompactionStats";
    /// The commit log, whole.
    LatestCommits, 15, "LatestCommitEntryOfEachKey";
    /// Connections of clients by who they are.
    ConnectionSummary, 16, "activeInboundConnectionsSummary";
    /// The same, each of them.
    ConnectionDetails, 17, "activeInboundConnectionsDetailed";
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
        if regex.is_some() && !matches!(figures[..], [Figure::LastCommitId | Figure::LatestCommits]) {
            return Err(AtError::syntax("a regex stands after stats:3 and stats:15 only"));
        }
        Ok(Self { figures, regex })
    }

    fn figure(id: &str) -> Result<Figure, AtError> {
        let number: u32 = id
            .parse()
            .ok()
            .filter(|number| *number > 0 && id.bytes().all(|digit| digit.is_ascii_digit()))
            .ok_or_else(|| AtError::syntax("a stats id is a number from 1"))?;
        let known = Figure::ALL.iter().copied().find(|figure| figure.id() == number);
        known.ok_or_else(|| AtError::syntax(format!("No metric with ID {number}: there are 1 to 17")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn stats_alone_tells_every_figure() {
        assert_eq!(Stats::parse("").map(|stats| stats.figures), Ok(Figure::ALL.to_vec()));
        assert_eq!(
            Figure::ALL.iter().map(|figure| figure.id()).collect::<Vec<_>>(),
            (1..=17).collect::<Vec<_>>()
        );
    }

    #[test]
    fn figures_come_in_the_order_asked_for() {
        let stats = Stats::parse(":7,3").expect("two figures");
        assert_eq!(stats.figures, [Figure::Version, Figure::LastCommitId]);
        let stats = Stats::parse(":15:.*wavi").expect("a figure");
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
            (":3,15:x", ErrorCode::InvalidSyntax),
            ("x", ErrorCode::InvalidSyntax),
            (":18", ErrorCode::InvalidSyntax),
            (":99", ErrorCode::InvalidSyntax),
        ] {
            assert_eq!(Stats::parse(text).map_err(|e| e.code()), Err(code), "{text}");
        }
    }
}
