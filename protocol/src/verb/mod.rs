//! Commands: one line of a client, as the value that it asks for. One file per verb.

mod batch;
mod config;
mod cram;
mod delete;
mod enroll;
mod from;
mod info;
mod keys;
mod llookup;
mod lookup;
mod monitor;
mod noop;
mod notifications;
mod notify;
mod otp;
mod pkam;
mod plookup;
mod scan;
mod stats;
mod stream;
mod sync;
mod to;
mod update;

pub use batch::{Batch, BatchItem};
pub use config::{Config, Setting};
pub use cram::Cram;
pub use delete::{Delete, Deleted};
pub use enroll::{DefaultKeys, Enroll, EnrollDecision, EnrollRequest, EnrollUpdate};
pub use from::{ClientConfig, From};
pub use info::Info;
pub use keys::{Keys, KeysKind, NewKey};
pub use llookup::LocalLookup;
pub use lookup::Lookup;
pub use monitor::Monitor;
pub use noop::Noop;
pub use notifications::{NotificationList, Notifying};
pub use notify::{MessageType, Notify, NotifyAll, NotifyLine, NotifyOperation, Priority, Strategy};
pub use otp::Otp;
pub use pkam::{HashingAlgorithm, Pkam, SigningAlgorithm};
pub use plookup::ProxyLookup;
pub use scan::Scan;
pub use stats::{Figure, Stats};
pub use stream::{Stream, StreamOffer};
pub use sync::Sync;
pub use to::To;
pub use update::{Subject, Update, UpdateMeta};

use crate::error::AtError;

/// A command with all that it asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Says who the client claims to be.
    From(From),
    /// Proves it with the secret of the onboarding.
    Cram(Cram),
    /// Proves it with a private key.
    Pkam(Pkam),
    /// Stores a value.
    Update(Update),
    /// Changes metadata only.
    UpdateMeta(UpdateMeta),
    /// Removes a key.
    Delete(Delete),
    /// Reads a key of this server by its full name.
    LocalLookup(LocalLookup),
    /// Reads a key as its recipient.
    Lookup(Lookup),
    /// Reads public data of any atSign through this server.
    ProxyLookup(ProxyLookup),
    /// Lists keys.
    Scan(Scan),
    /// Tells version and uptime.
    Info(Info),
    /// Waits and says that it lives.
    Noop(Noop),
    /// Tells figures.
    Stats(Stats),
    /// Proves to be the server of another atSign.
    Pol,
    /// Sends a notification, or asks about some.
    Notify(Notifying),
    /// Has notifications written as they come.
    Monitor(Monitor),
    /// Tells what changed.
    Sync(Sync),
    /// Several commands in one.
    Batch(Batch),
    /// Changes how the server behaves.
    Config(Config),
    /// Passcodes for enrollments.
    Otp(Otp),
    /// Something about enrollments.
    Enroll(Enroll),
    /// Keys of an enrollment.
    Keys(Keys),
    /// Sends or receives bytes of any length.
    Stream(Stream),
    /// Says whose server the connection is for.
    To(To),
    /// `@exit`: closes the connection without an answer.
    Exit,
}

/// What to answer of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// The value as it is.
    #[default]
    Value,
    /// The metadata.
    Meta,
    /// Key, value and metadata.
    All,
}

impl Operation {
    /// Takes `meta:` or `all:` from the head of `text`.
    fn strip(text: &str) -> (Self, &str) {
        for (tag, operation) in [("meta", Self::Meta), ("all", Self::All)] {
            if let Some(rest) = crate::key::strip_tag(text, tag) {
                return (operation, rest);
            }
        }
        (Self::Value, text)
    }
}

/// The verbs that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    From,
    Cram,
    Pkam,
    Update,
    Delete,
    LocalLookup,
    Lookup,
    ProxyLookup,
    Scan,
    Info,
    Noop,
    Stats,
    Pol,
    Notify,
    Monitor,
    Sync,
    Batch,
    Config,
    Otp,
    Enroll,
    Keys,
    Stream,
    To,
    Exit,
}

impl Command {
    /// Reads one command, without its line feed.
    ///
    /// `owner` says whether the client has proved to be the owner: a verb that needs it is refused before its
    /// arguments are looked at, so that strangers cannot make the server read what it would never do.
    pub fn parse(line: &str, owner: bool) -> Result<Self, AtError> {
        let (verb, rest) = split_verb(line.trim()).ok_or_else(AtError::invalid_command)?;
        if verb.needs_owner() && !owner {
            return Err(AtError::unauthenticated());
        }
        Ok(match verb {
            Verb::From => Self::From(From::parse(argument(rest)?)?),
            Verb::Cram => Self::Cram(Cram::parse(argument(rest)?)?),
            Verb::Pkam => Self::Pkam(Pkam::parse(argument(rest)?)?),
            Verb::Update => {
                let rest = argument(rest)?;
                if let Some(rest) = crate::key::strip_tag(rest, "meta") {
                    Self::UpdateMeta(UpdateMeta::parse(rest)?)
                } else {
                    Self::Update(Update::parse(rest)?)
                }
            }
            Verb::Delete => Self::Delete(Delete::parse(argument(rest)?)?),
            Verb::LocalLookup => Self::LocalLookup(LocalLookup::parse(argument(rest)?)?),
            Verb::Lookup => Self::Lookup(Lookup::parse(argument(rest)?)?),
            Verb::ProxyLookup => Self::ProxyLookup(ProxyLookup::parse(argument(rest)?)?),
            Verb::Scan => Self::Scan(Scan::parse(rest)?),
            Verb::Info => Self::Info(Info::parse(rest)?),
            Verb::Noop => Self::Noop(Noop::parse(argument(rest)?)?),
            Verb::Stats => Self::Stats(Stats::parse(rest)?),
            Verb::Pol if rest.is_empty() => Self::Pol,
            Verb::Notify => Self::Notify(Notifying::parse(argument(rest)?)?),
            Verb::Monitor => Self::Monitor(Monitor::parse(rest)?),
            Verb::Sync => Self::Sync(Sync::parse(argument(rest)?)?),
            Verb::Batch => Self::Batch(Batch::parse(argument(rest)?)?),
            Verb::Config => Self::Config(Config::parse(argument(rest)?)?),
            Verb::Otp => Self::Otp(Otp::parse(argument(rest)?)?),
            Verb::Enroll => Self::Enroll(Enroll::parse(argument(rest)?, owner)?),
            Verb::Keys => Self::Keys(Keys::parse(argument(rest)?)?),
            Verb::Stream => Self::Stream(Stream::parse(argument(rest)?)?),
            Verb::To => Self::To(To::parse(argument(rest)?)?),
            Verb::Exit if rest.is_empty() => Self::Exit,
            Verb::Pol | Verb::Exit => return Err(AtError::invalid_command()),
        })
    }
}

impl Verb {
    fn needs_owner(self) -> bool {
        matches!(
            self,
            Self::Update
                | Self::Delete
                | Self::LocalLookup
                | Self::ProxyLookup
                | Self::Stats
                | Self::Sync
                | Self::Batch
                | Self::Config
                | Self::Otp
                | Self::Keys
        )
    }
}

/// The verb and what follows it, separator included. Only the verb is normalised: case and spaces in it do not count.
fn split_verb(line: &str) -> Option<(Verb, &str)> {
    // No verb is longer; more would only be work for nothing.
    const LONGEST: usize = 64;
    let head = match line.char_indices().nth(LONGEST) {
        Some((end, _)) => &line[..end],
        None => line,
    };
    // These have their arguments after a space; a colon may stand in their regex.
    for (name, verb) in [("scan", Verb::Scan), ("monitor", Verb::Monitor)] {
        if head.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name))
            && line[name.len()..].chars().next().is_none_or(|next| next == ':' || next.is_whitespace())
        {
            return Some((verb, &line[name.len()..]));
        }
    }
    let end = head.find(':').unwrap_or(head.len());
    if end == LONGEST {
        return None;
    }
    let name: String =
        head[..end].chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    let verb = match name.as_str() {
        "from" => Verb::From,
        "cram" => Verb::Cram,
        "pkam" => Verb::Pkam,
        "update" => Verb::Update,
        "delete" => Verb::Delete,
        "llookup" => Verb::LocalLookup,
        "lookup" => Verb::Lookup,
        "plookup" => Verb::ProxyLookup,
        "scan" => Verb::Scan,
        "info" => Verb::Info,
        "noop" => Verb::Noop,
        "stats" => Verb::Stats,
        "pol" => Verb::Pol,
        "notify" => Verb::Notify,
        "sync" => Verb::Sync,
        "batch" => Verb::Batch,
        "config" => Verb::Config,
        "otp" => Verb::Otp,
        "enroll" => Verb::Enroll,
        "keys" => Verb::Keys,
        "stream" => Verb::Stream,
        "to" => Verb::To,
        "@exit" => Verb::Exit,
        _ => return None,
    };
    Some((verb, &line[end..]))
}

/// What follows the colon of a verb that cannot do without.
fn argument(rest: &str) -> Result<&str, AtError> {
    rest.strip_prefix(':')
        .filter(|argument| !argument.is_empty())
        .ok_or_else(|| AtError::syntax("this verb needs an argument"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_verb_is_known_in_any_case_and_with_spaces_in_it() {
        for line in ["info", "INFO", " info ", "in fo", "info\r"] {
            assert_eq!(Command::parse(line, false), Ok(Command::Info(Info::Full)), "{line:?}");
        }
        assert!(matches!(Command::parse("FROM :@alice", false), Ok(Command::From(_))));
        assert_eq!(Command::parse("@exit", false), Ok(Command::Exit));
    }

    #[test]
    fn what_is_no_verb_is_an_invalid_command() {
        for line in [
            "",
            " ",
            "hello",
            "updates:x@alice 1",
            "pol:",
            "notify",
            "sync:1",
            "@exit:",
            "scanner",
            "scan@",
            "from",
            "cram",
            &"x".repeat(1000),
            &"🦄".repeat(100),
        ] {
            let refused = Command::parse(line, true).expect_err(line);
            assert_eq!(refused.code(), ErrorCode::InvalidSyntax, "{line:?}");
        }
    }

    #[test]
    fn a_stranger_is_sent_away_before_the_arguments_are_read() {
        for line in [
            "update:x@alice 1",
            "update:",
            "update:meta:x",
            "delete:x@alice",
            "llookup:x",
            "plookup:x",
            "stats:9",
        ] {
            assert_eq!(Command::parse(line, false), Err(AtError::unauthenticated()), "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_never_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let line = String::from_utf8_lossy(&bytes);
            let _ = Command::parse(&line, true);
            let _ = Command::parse(&line, false);
        }

        #[test]
        fn arbitrary_pieces_of_commands_never_make_the_parser_panic(
            verb in prop::sample::select(vec!["from", "to", "cram", "pkam", "update", "update:meta", "update:json", "delete",
                "llookup", "lookup", "plookup", "scan", "info", "noop", "stats", "notify", "notify:all", "notify:list", "monitor", "sync:from", "batch", "config", "config:block", "config:set", "otp:put", "enroll:request", "enroll:revoke", "enroll:list", "keys:put", "stream:init@bob", "stream:receive"]),
            pieces in prop::collection::vec(prop::sample::select(vec![":", "::", "@", " ", "public", "cached", "@bob",
                "ttl", "-1", "null", "meta", "all", "json", "{}", "{\"atKey\":", "\"", "🦄", "é", "x.y", "@alice",
                "bypassCache", "true", "cAt", "2024-05-05T09:06:40Z", "privatekey:at_secret", "nc", "3,4", "showHidden",
                "limit", "skipDeletesUntil", "add", "autoNotify=", "[{\"id\":1,\"command\":", "signingAlgo", "rsa2048", "hashingAlgo", "enrollmentId", "clientConfig"]), 0..12),
        ) {
            let line = format!("{verb}:{}", pieces.concat());
            let _ = Command::parse(&line, true);
        }
    }
}
