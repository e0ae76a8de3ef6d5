//! What the operator asks at a server's admin port, plain HTTP. A request that waits costs its socket and little else:
//! no buffer is held until the answer begins.

use std::io;
use std::time::Duration;

use atsign_protocol::Usage;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::response::{self, Response};
use crate::build::template::ADMIN_PORT;

/// How long a server may take to be reached, and to answer what needs no waiting.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to free memory.
const SHRINKING: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const LARGEST: usize = 16 << 10;

/// Why a server's answer is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It did not come in time.
    #[error("no answer in time")]
    Late,
    /// It is not HTTP as it is spoken here.
    #[error("the answer is not HTTP, or is cut off, or too long")]
    Malformed,
    /// It says no.
    #[error("the answer is {0}")]
    Status(u16),
    /// It is not what was asked for.
    #[error("the answer is no usage: {0}")]
    Json(#[from] serde_json::Error),
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The share of the limit above which the need is told, in ten-thousandths.
    pub above: u64,
    /// The need that is known already: only an other one is told.
    pub seen: Option<u64>,
    /// Whether it is known that the owner has logged in: a change of that is told.
    pub activated: bool,
    /// How long to wait for it.
    pub wait: Duration,
}

/// Asks a server what it uses now.
pub async fn usage(ip: &str) -> Result<Usage, Error> {
    let asked = Asked::send(ip, "GET /usage", "").await?;
    in_time(PATIENCE, asked.usage()).await
}

/// Asks a server to tell what it uses once its need passes a mark, or its owner has logged in for the first time.
pub async fn wait_for(ip: &str, mark: Mark) -> Result<Asked, Error> {
    let Mark { above, seen, activated, wait } = mark;
    let seen = seen.map(|seen| format!("&seen={seen}")).unwrap_or_default();
    let (whole, part, wait) = (above / 10_000, above % 10_000, wait.as_secs().max(1));
    let mark = format!("above={whole}.{part:04}&wait={wait}s&activated={activated}{seen}");
    Asked::send(ip, &format!("GET /usage?{mark}"), "").await
}

/// Asks a server to live with `to` bytes from now on. Its answer says what is left.
pub async fn shrink(ip: &str, to: u64, token: &str) -> Result<Usage, Error> {
    let authorization = format!("authorization: Bearer {token}\r\ncontent-length: 0\r\n");
    let asked = Asked::send(ip, &format!("POST /shrink?to={to}"), &authorization).await?;
    in_time(SHRINKING, asked.usage()).await
}

async fn in_time<T>(within: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(within, work).await.unwrap_or(Err(Error::Late))
}

/// A request that was sent.
#[derive(Debug)]
pub struct Asked {
    stream: TcpStream,
}

impl Asked {
    async fn send(ip: &str, request: &str, headers: &str) -> Result<Self, Error> {
        let port = u16::try_from(ADMIN_PORT).unwrap_or_default();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let text = format!("{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
        in_time(PATIENCE, async {
            let mut stream = TcpStream::connect((ip, port)).await?;
            stream.write_all(text.as_bytes()).await?;
            Ok(Self { stream })
        })
        .await
    }

    /// Returns once the answer begins, or the connection ends.
    pub async fn begins(&self) {
        // Readable or broken: reading tells.
        let _ = self.stream.readable().await;
    }

    /// Reads the answer.
    pub async fn usage(self) -> Result<Usage, Error> {
        let mut text = Vec::new();
        loop {
            match response::read(&text) {
                Response::Whole(body) => return Ok(serde_json::from_slice(body)?),
                Response::Refusal(status) => return Err(Error::Status(status)),
                Response::Malformed => return Err(Error::Malformed),
                Response::Partial => {}
            }
            self.stream.readable().await?;
            let mut chunk = [0; 2048];
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(Error::Malformed),
                Ok(read) => text.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if text.len() > LARGEST {
                return Err(Error::Malformed);
            }
        }
    }

    /// Reads an answer that has begun: the rest of it comes at once.
    pub async fn answer(self) -> Result<Usage, Error> {
        in_time(PATIENCE, self.usage()).await
    }
}
