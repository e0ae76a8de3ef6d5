//! One client's conversation, without sockets and clocks: what was found in, what to send and when out.
//!
//! The wire behaviour is the reference root server's, with what clients need beyond it: a leading `@` is taken off, and
//! blank lines, which the C SDK sends after the banner, are answered but not held against it.

use std::time::Duration;

use crate::addresses::Found;

/// What a client sees first, and after each answer: it may ask.
pub const PROMPT: &str = "@";

/// How long the answer to a second unknown atSign waits, and the end after a third: whoever guesses is slow at it.
pub const MISS_DELAY: Duration = Duration::from_secs(3);

/// How a question ended, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The address was sent.
    Found,
    /// No such atSign.
    Unknown,
    /// A blank line.
    Blank,
    /// Who knows was away.
    Unavailable,
}

/// What to do for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// The bytes to send, prompt included, in one write; `None` closes the connection.
    pub text: Option<String>,
    /// How long to wait before that.
    pub after: Duration,
    /// What was found.
    pub outcome: Outcome,
}

/// The state of a conversation.
#[derive(Debug, Default)]
pub struct Session {
    misses: u32,
}

impl Session {
    /// The reply to a line, of which this was found.
    pub fn answer(&mut self, found: Found) -> Reply {
        let at_once = |text, outcome| Reply { text, after: Duration::ZERO, outcome };
        match found {
            Found::Blank => return at_once(Some(not_found()), Outcome::Blank),
            Found::Address(address) => {
                return at_once(Some(format!("{address}\r\n{PROMPT}")), Outcome::Found);
            }
            // The protocol has no word for it, and `null` would be a lie that clients remember.
            Found::Unavailable => return at_once(None, Outcome::Unavailable),
            Found::Unknown => {}
        }
        self.misses += 1;
        let (text, after) = match self.misses {
            1 => (Some(not_found()), Duration::ZERO),
            2 => (Some(not_found()), MISS_DELAY),
            _ => (None, MISS_DELAY),
        };
        Reply { text, after, outcome: Outcome::Unknown }
    }
}

fn not_found() -> String {
    format!("null\r\n{PROMPT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_sent_with_cr_lf_and_the_prompt() {
        let reply = Session::default().answer(Found::Address("alice.example.com:6464".into()));
        assert_eq!(reply.text.as_deref(), Some("alice.example.com:6464\r\n@"));
    }

    #[test]
    fn the_second_unknown_at_sign_waits_and_the_third_ends_it() {
        let mut session = Session::default();
        let replies = [(); 3].map(|()| {
            let reply = session.answer(Found::Unknown);
            (reply.text, reply.after)
        });
        let null = Some("null\r\n@".to_owned());
        assert_eq!(replies, [(null.clone(), Duration::ZERO), (null, MISS_DELAY), (None, MISS_DELAY)]);
    }

    #[test]
    fn blank_lines_and_known_at_signs_are_not_counted_as_unknown() {
        let mut session = Session::default();
        let known = Found::Address("a:1".into());
        for found in [Found::Blank, Found::Blank, Found::Blank, known, Found::Unknown] {
            let reply = session.answer(found.clone());
            assert_eq!((reply.text.is_some(), reply.after), (true, Duration::ZERO), "{found:?}");
        }
    }

    #[test]
    fn while_nobody_knows_the_connection_ends_without_a_word() {
        let reply = Session::default().answer(Found::Unavailable);
        assert_eq!((reply.text, reply.after), (None, Duration::ZERO));
    }
}
