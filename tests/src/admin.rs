//! Requests to the admin port of a server, one connection each.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How long a test waits for an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Status and body of an answer.
pub type Answer = (u16, String);

/// A request that was sent and is not answered yet.
#[derive(Debug)]
pub struct Asked(TcpStream);

/// Sends a request to a port on loopback: `GET /usage`. `token`: shown as the bearer's.
pub fn ask(port: u16, request: &str, token: Option<&str>) -> Result<Asked> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(stream, "{request} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n")?;
    Ok(Asked(stream))
}

impl Asked {
    /// Waits for the answer.
    pub fn answer(mut self) -> Result<Answer> {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).context("a status line")?.parse()?;
        Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
    }
}

/// Status and body of a request.
pub fn request(port: u16, request: &str, token: Option<&str>) -> Result<Answer> {
    ask(port, request, token)?.answer()
}

/// What a server tells about its memory.
pub fn usage(port: u16) -> Result<Value> {
    let (_, json) = request(port, "GET /usage", None)?;
    serde_json::from_str(&json).with_context(|| format!("{json:?} is no usage"))
}
