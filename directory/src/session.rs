//! One client's conversation, without sockets and clocks: bytes in, what to send and when out.
//!
//! The wire behaviour is the reference root server's, with what clients need beyond it: a leading `@` is taken off, and
//! blank lines, which the C SDK sends after the banner, are answered but not held against it.

use std::time::Duration;

use crate::addresses::Found;

/// What a client sees first, and after each answer: it may ask.
pub const PROMPT: &str = "@";

/// The most bytes of a line, its line feed included.
pub const MAX_LINE: usize = 255;

/// How long the answer to a second unknown atSign waits, and the end after a third: whoever guesses is slow at it.
pub const MISS_DELAY: Duration = Duration::from_secs(3);

/// What the client wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// An address. The line, trimmed; perhaps blank, perhaps no atSign at all.
    Find(String),
    /// To be gone.
    Exit,
    /// Nothing that is a line: it is longer than [`MAX_LINE`].
    Overflow,
}

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
    received: Vec<u8>,
    misses: u32,
}

impl Session {
    /// Takes in what the client sent.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next request that is complete; `None` until more was received.
    pub fn next_request(&mut self) -> Option<Request> {
        let Some(end) = self.received.iter().position(|byte| *byte == b'\n') else {
            return match self.received.trim_ascii() {
                b"@exit" => Some(Request::Exit),
                _ if self.received.len() >= MAX_LINE => Some(Request::Overflow),
                _ => None,
            };
        };
        if end >= MAX_LINE {
            return Some(Request::Overflow);
        }
        let line = String::from_utf8_lossy(&self.received[..end]).trim().to_owned();
        // A client that ends its line twice in one record expects one answer.
        let behind = self.received[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.received.drain(..end + behind);
        Some(if line == "@exit" { Request::Exit } else { Request::Find(line) })
    }

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

    /// All requests in `chunks`, as they come.
    fn requests(chunks: &[&[u8]]) -> Vec<Request> {
        let mut session = Session::default();
        let mut requests = Vec::new();
        for chunk in chunks {
            session.receive(chunk);
            while let Some(request) = session.next_request() {
                let last = request == Request::Overflow || request == Request::Exit;
                requests.push(request);
                if last {
                    return requests;
                }
            }
        }
        requests
    }

    fn find(line: &str) -> Request {
        Request::Find(line.into())
    }

    #[test]
    fn a_line_ends_with_a_line_feed_however_it_arrives() {
        assert_eq!(requests(&[b"alice\n"]), [find("alice")]);
        assert_eq!(requests(&[b"al", b"ice", b"\r\n"]), [find("alice")]);
        assert_eq!(requests(&[b"alice\nbob\n"]), [find("alice"), find("bob")]);
        assert_eq!(requests(&[b"alice"]), []);
    }

    #[test]
    fn a_line_that_is_ended_twice_at_once_is_one_question() {
        assert_eq!(requests(&[b"alice\n\n"]), [find("alice")]);
        assert_eq!(requests(&[b"alice\r\n \r\nbob\n"]), [find("alice"), find("bob")]);
    }

    #[test]
    fn a_blank_line_that_comes_by_itself_is_a_question() {
        assert_eq!(requests(&[b"\r\n", b"alice\n"]), [find(""), find("alice")]);
    }

    #[test]
    fn exit_needs_no_end_of_line() {
        assert_eq!(requests(&[b"@exit"]), [Request::Exit]);
        assert_eq!(requests(&[b"alice\n@exit\n"]), [find("alice"), Request::Exit]);
        assert_eq!(requests(&[b"@exi"]), []);
    }

    #[test]
    fn a_line_of_255_bytes_is_the_longest() {
        let longest = [&[b'a'; MAX_LINE - 1][..], b"\n"].concat();
        assert_eq!(requests(&[&longest]), [find(&"a".repeat(MAX_LINE - 1))]);
        assert_eq!(requests(&[&[b'a'; MAX_LINE][..], b"\n"]), [Request::Overflow]);
        let at_once = [&[b'a'; MAX_LINE][..], b"\n"].concat();
        assert_eq!(requests(&[&at_once]), [Request::Overflow]);
    }

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
