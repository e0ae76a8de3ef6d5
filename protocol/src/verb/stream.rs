//! `stream:(init|receive|done|resume)…`: bytes of any length for another atSign (reference page section 2.23).

use crate::at_sign::AtSign;
use crate::error::AtError;
use crate::key::at_sign;

/// The most characters of an id, which the sender chooses, and of a file's name.
const MAX_ID: usize = 128;
const MAX_NAME: usize = 255;

/// Something about a stream, which is known by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// This connection is going to send one.
    Init(StreamOffer),
    /// This connection takes it.
    Receive(String),
    /// All of it has arrived.
    Done(String),
    /// Asks the sender to send it again from a byte on.
    Resume {
        /// The sender.
        sender: AtSign,
        /// Which.
        id: String,
        /// The first byte that is missing.
        start: u64,
    },
}

/// A stream that somebody is about to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOffer {
    /// For whom.
    pub receiver: AtSign,
    /// The namespace in which its notification is told.
    pub namespace: Option<String>,
    /// The first byte that is sent: not 0 where an earlier stream of that id broke.
    pub start: u64,
    /// By which it is known.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub length: u64,
}

impl Stream {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (head, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let (operation, other) = match head.split_once('@') {
            Some((operation, other)) => (operation, Some(at_sign(other)?)),
            None => (head, None),
        };
        let (mut namespace, mut start) = (None, 0);
        while let Some((tag, value)) = rest.split(' ').next().and_then(|field| field.split_once(':')) {
            match tag.to_ascii_lowercase().as_str() {
                "namespace" => namespace = word(value, "namespace")?,
                "startbyte" => start = number(value, "startByte")?,
                _ => break,
            }
            rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
        }
        let (id, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let id = word(id, "streamId")?.ok_or_else(|| AtError::syntax("the stream has no id"))?;
        let other = || other.ok_or_else(|| AtError::syntax("a stream is for one atSign"));
        Ok(match operation.to_ascii_lowercase().as_str() {
            "init" => {
                let (name, length) = rest
                    .rsplit_once(' ')
                    .ok_or_else(|| AtError::syntax("the stream has no name and length"))?;
                let name = name.trim();
                if name.is_empty() || name.chars().count() > MAX_NAME || name.contains([':', '\r']) {
                    return Err(AtError::syntax("the stream has no valid name"));
                }
                let (name, length) = (name.to_owned(), number(length, "length")?);
                Self::Init(StreamOffer { receiver: other()?, namespace, start, id, name, length })
            }
            "receive" => Self::Receive(id),
            "done" => Self::Done(id),
            "resume" => Self::Resume { sender: other()?, id, start },
            _ => return Err(AtError::syntax("stream knows init, receive, done and resume")),
        })
    }
}

impl StreamOffer {
    /// What the receiver is told, by the server of `own`.
    pub fn text(&self, own: &AtSign) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!(".{namespace}")).unwrap_or_default();
        let Self { id, name, length, .. } = self;
        format!("stream_id{namespace} {own}:{id}:{name}:{length}")
    }
}

/// Letters, digits, `_` and `-`; `None` where there is nothing.
fn word(text: &str, what: &str) -> Result<Option<String>, AtError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match text {
        "" | "null" => Ok(None),
        _ if text.len() <= MAX_ID && text.chars().all(is_word) => Ok(Some(text.to_owned())),
        _ => Err(AtError::syntax(format!("{what} has no valid value"))),
    }
}

fn number(text: &str, what: &str) -> Result<u64, AtError> {
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| AtError::syntax(format!("{what} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> AtSign {
        AtSign::parse("@bob").expect("an atSign")
    }

    #[test]
    fn a_stream_is_offered_with_all_that_is_known_of_it() {
        let offer = StreamOffer {
            receiver: bob(),
            namespace: Some("wavi".to_owned()),
            start: 7,
            id: "s-1".to_owned(),
            name: "my photo.jpg".to_owned(),
            length: 1024,
        };
        let text = "init@bob namespace:wavi startByte:7 s-1 my photo.jpg 1024";
        assert_eq!(Stream::parse(text), Ok(Stream::Init(offer.clone())));
        let alice = AtSign::parse("@alice").expect("an atSign");
        assert_eq!(offer.text(&alice), "stream_id.wavi @alice:s-1:my photo.jpg:1024");
        let Ok(Stream::Init(plain)) = Stream::parse("INIT@bob s f 0") else { panic!("no offer") };
        assert_eq!(plain.text(&alice), "stream_id @alice:s:f:0");
    }

    #[test]
    fn everything_else_names_the_stream_by_its_id() {
        assert_eq!(Stream::parse("receive s-1"), Ok(Stream::Receive("s-1".to_owned())));
        assert_eq!(Stream::parse("receive@alice s-1 f 9"), Ok(Stream::Receive("s-1".to_owned())));
        assert_eq!(Stream::parse("done s-1"), Ok(Stream::Done("s-1".to_owned())));
        let resume = Stream::Resume { sender: bob(), id: "s-1".to_owned(), start: 5 };
        assert_eq!(Stream::parse("resume@bob startByte:5 s-1 f 9"), Ok(resume));
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        for text in [
            "",
            "init",
            "init@bob",
            "init@bob s",
            "init@bob s 5",
            "init@bob s f many",
            "init@bob s f +5",
            "init@bob s a:b 5",
            "init s f 5",
            "init@b@c s f 5",
            "init@bob startByte:x s f 5",
            "receive",
            "receive a/b",
            "resume s-1",
            "send s-1",
        ] {
            assert_eq!(
                Stream::parse(text).map_err(|error| error.code()),
                Err(crate::ErrorCode::InvalidSyntax),
                "{text}"
            );
        }
        assert!(Stream::parse(&format!("receive {}", "s".repeat(MAX_ID + 1))).is_err());
    }
}
