//! `GET /backup?name=…`: a backup on its way to a client, as a backup file. It may be larger than our memory and its client
//! slow, so no more than a chunk of it is here, and only one is sent at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use rustix::fs::{Advice, fadvise};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::http::{end, text, write};
use crate::backup::manifest_of;
use crate::sockets;
use crate::store::file::FILE;

/// Bytes read and sent at a time.
const CHUNK: usize = 32 * 1024;

/// How long the volume may take for a chunk, and the client for another: who takes none keeps the place from the next.
const PATIENCE: Duration = Duration::from_mins(1);

/// A backup that was asked for.
pub(super) struct Sending {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Nobody else is sent one meanwhile.
    pub(super) place: OwnedSemaphorePermit,
}

/// Sends it and ends the connection. A client that gets less than it was told has no backup.
pub(super) async fn send(stream: &mut TcpStream, sending: Sending) -> io::Result<()> {
    let Sending { folder, place: _place } = sending;
    sockets::bound_own(stream);
    let opened = apart(move || {
        let file = File::open(folder.join(FILE))?;
        Ok((manifest_of(&folder)?.line(), file.metadata()?.len(), file))
    });
    let (line, mut left, mut file) = match opened.await {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write(stream, text(StatusCode::NOT_FOUND, "there is no such backup\n")).await;
        }
        Err(error) => {
            return write(stream, text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))).await;
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
        line.len() as u64 + left
    );
    timeout(PATIENCE, stream.write_all((head + &line).as_bytes())).await??;
    let (mut chunk, mut sent) = (vec![0; CHUNK], 0);
    while left > 0 {
        let count;
        (file, chunk, count) = apart(move || {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let count = file.read(&mut chunk[..most])?;
            // Only advice: what was sent is not needed again.
            let _ = fadvise(&file, sent, std::num::NonZeroU64::new(count as u64), Advice::DontNeed);
            Ok((file, chunk, count))
        })
        .await?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the backup became shorter"));
        }
        timeout(PATIENCE, stream.write_all(&chunk[..count])).await??;
        left -= count as u64;
        sent += count as u64;
    }
    end(stream).await
}

/// Does what waits for the volume where no client waits for it.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    timeout(PATIENCE, spawn_blocking(work)).await?.map_err(io::Error::other)?
}
