//! A server's answer in HTTP, as far as its admin port speaks it.

/// The most headers.
const HEADERS: usize = 32;

/// What of an answer has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// The beginning of one.
    Partial,
    /// All of one: its body.
    Whole(&'a [u8]),
    /// Another status than 200.
    Refusal(u16),
    /// What is none.
    Malformed,
}

/// Reads what has come of an answer.
pub fn read(text: &[u8]) -> Response<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let start = match answer.parse(text) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Response::Partial,
        Err(_) => return Response::Malformed,
    };
    match answer.code {
        Some(200) => {}
        code => return Response::Refusal(code.unwrap_or_default()),
    }
    let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    let Some(length) = length else { return Response::Malformed };
    text.get(start..start.saturating_add(length)).map_or(Response::Partial, Response::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read(whole), Response::Whole(b"{}"));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), Response::Partial, "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert_eq!(read(b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"), Response::Refusal(409));
        assert_eq!(read(b"data:hello\n\n\r\n"), Response::Malformed);
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n{}"), Response::Malformed);
    }
}
