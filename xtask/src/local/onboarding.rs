//! Gives the atSigns keys, as an SDK's activation tool does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use atsign_keys::{Connection, Keys, new_secret, onboard, write_private};
use rustls::RootCertStore;
use tokio::net::TcpStream;

use super::Member;

/// The file in `folder` with the activation secret; made where it is missing.
///
/// # Errors
/// It cannot be written.
pub(super) fn secret(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("secret");
    if !path.exists() {
        write_private(&path, &new_secret()?)?;
    }
    Ok(path)
}

/// Gives `member` keys, unless it has some; then they are tried.
///
/// # Errors
/// The server refuses.
pub(super) async fn ensure_keys(member: &Member, roots: &RootCertStore) -> Result<()> {
    let connect = async || {
        let stream = TcpStream::connect(("127.0.0.1", member.port)).await?;
        Connection::open(stream, "localhost", roots.clone()).await
    };
    if member.keys.exists() {
        let keys = Keys::read(&member.keys)?;
        return connect().await?.pkam(member.at_sign.as_str(), &keys).await.with_context(|| {
            let (keys, folder) = (member.keys.display(), member.folder.display());
            format!("{keys} does not fit {folder}; remove both to begin anew")
        });
    }
    let secret = fs::read_to_string(secret(&member.folder)?)?;
    onboard(connect, &member.at_sign, secret.trim(), &member.keys).await
}
