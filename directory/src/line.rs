//! What a client sends, cut into requests.

/// The most bytes of a line, its line feed included.
pub const MAX_LINE: usize = 255;

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

/// The bytes that a client sent and that are not a request yet: fewer than a line and a chunk.
#[derive(Debug, Default)]
pub struct Lines {
    received: Vec<u8>,
}

impl Lines {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All requests in `chunks`, as they come.
    fn requests(chunks: &[&[u8]]) -> Vec<Request> {
        let mut lines = Lines::default();
        let mut requests = Vec::new();
        for chunk in chunks {
            lines.receive(chunk);
            while let Some(request) = lines.next_request() {
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
}
