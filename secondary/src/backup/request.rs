//! Asking a server for a backup over its admin port: small, for it may run beside the server in 6 MiB.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Manifest;

/// How long the server may take for one answer; none of them waits for the volume.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked whether the backup is made.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes of an answer at most.
const LONGEST: u64 = 64 * 1024;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server cannot be reached.
    #[error("{address}: {source}")]
    Unreachable {
        /// Its admin port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// It says no.
    #[error("the server answers {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        reason: String,
    },
}

/// Has the server at an admin port make a backup, waits for it and returns its manifest.
pub fn request(address: &str, token: &str, keep: Option<usize>) -> Result<Manifest, RequestError> {
    let path = keep.map_or("/backup".to_owned(), |keep| format!("/backup?keep={keep}"));
    let ask = |method: &str, path: &str| {
        exchange(address, token, method, path)
            .map_err(|source| RequestError::Unreachable { address: address.to_owned(), source })
    };
    let (mut status, mut answer) = ask("POST", &path)?;
    while status == 202 {
        std::thread::sleep(PAUSE);
        (status, answer) = ask("GET", "/backup")?;
    }
    let refused = |reason: String| RequestError::Refused { status, reason };
    if status != 200 {
        return Err(refused(answer.trim().to_owned()));
    }
    serde_json::from_str(&answer).map_err(|error| refused(format!("a manifest that cannot be read: {error}")))
}

fn exchange(address: &str, token: &str, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut tried = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return exchange_over(stream, token, method, path),
            Err(error) => tried = error,
        }
    }
    Err(tried)
}

fn exchange_over(mut stream: TcpStream, token: &str, method: &str, path: &str) -> io::Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    let _ = write!(
        request,
        "{method} {path} HTTP/1.1\r\nHost: atsign\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let (status, body) = response(&answer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer of an admin port"))?;
    Ok((status, body.to_owned()))
}

/// The status and the body of an answer of an admin port.
pub fn response(answer: &str) -> Option<(u16, &str)> {
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body))
}
