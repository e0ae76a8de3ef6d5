//! HTTP as far as the admin port speaks it: one request of 1 KiB at most, one answer, and the end. A library's connection
//! would hold eight times that, also while the operator waits with it for news.

use std::io;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of a request's line and headers.
const HEAD: usize = 1024;

/// Headers of a request.
const HEADERS: usize = 16;

/// How long a client is listened to after its answer: what it still sends must not take the answer away from it.
const GOODBYE: Duration = Duration::from_secs(1);

/// An answer.
pub type Answer = Response<String>;

/// Reads the head of a request. The inner error is what to answer to a request that is none.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Result<Request<()>, Answer>> {
    let mut head = Vec::with_capacity(HEAD);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&head) {
            Ok(Some(request)) => return Ok(Ok(request)),
            Ok(None) if head.len() < HEAD => {}
            Ok(None) | Err(httparse::Error::TooManyHeaders) => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                let most = format!("a request has at most {HEAD} bytes and {HEADERS} headers\n");
                return Ok(Err(text(status, most)));
            }
            Err(error) => {
                return Ok(Err(text(StatusCode::BAD_REQUEST, format!("this is no request: {error}\n"))));
            }
        }
    }
}

/// The head of a request; `None`: more has to come.
pub fn parse(head: &[u8]) -> Result<Option<Request<()>>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    if parsed.parse(head)?.is_partial() {
        return Ok(None);
    }
    let (method, path) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let mut builder = Request::builder().method(method).uri(path);
    for header in parsed.headers.iter() {
        builder = builder.header(header.name, header.value);
    }
    // What httparse lets through and http does not is a path or a method.
    builder.body(()).map(Some).map_err(|_| httparse::Error::Token)
}

/// Writes the answer and ends the connection.
pub(super) async fn write(stream: &mut TcpStream, answer: Answer) -> io::Result<()> {
    let (parts, body) = answer.into_parts();
    let status = parts.status;
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\n", status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    stream.write_all(&bytes).await?;
    end(stream).await
}

/// Ends the connection once the client has what was written.
pub(super) async fn end(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scrap = [0; 256];
    let _ = timeout(GOODBYE, async {
        while stream.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
    Ok(())
}

/// Waits until the client has gone. What it sends meanwhile is ignored.
pub(super) async fn gone(stream: &TcpStream) {
    let mut scrap = [0; 64];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut scrap) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    body(status, "text/plain; charset=utf-8", text)
}

pub(super) fn body(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_all_of_its_head_is_there() {
        let head = b"POST /shrink?to=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n";
        for end in 0..head.len() {
            assert!(parse(&head[..end]).expect("a beginning").is_none(), "{end}");
        }
        let request = parse(head).expect("a request").expect("all of it");
        assert_eq!(request.uri().query(), Some("to=1"));
        assert_eq!(request.headers()["authorization"], "Bearer t");
        for nonsense in
            [&b"\x16\x03\x01 hello\r\n\r\n"[..], b"GET \r\n\r\n", b"GET ~{} HTTP/1.1\r\nbad\r\n\r\n"]
        {
            assert!(parse(nonsense).is_err(), "{nonsense:?}");
        }
    }
}
