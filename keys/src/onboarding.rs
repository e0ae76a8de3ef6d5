//! What an SDK's activation tool does: log in with the activation secret once, hand over public keys, forget the secret.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use atsign_protocol::AtSign;
use rsa::rand_core::{OsRng, RngCore as _};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Connection, Keys};

/// A new activation secret: 128 hexadecimal digits.
pub fn new_secret() -> Result<String> {
    let mut random = [0; 64];
    OsRng.try_fill_bytes(&mut random)?;
    let mut hex = String::with_capacity(2 * random.len());
    random.iter().try_for_each(|byte| write!(hex, "{byte:02x}"))?;
    Ok(hex)
}

/// Gives `at_sign` new keys and writes them to `file`.
///
/// It may stop anywhere and be run again: the keys are on disk, beside `file`, before the server hears of them, and get
/// their name only once the server has forgotten the secret.
pub async fn onboard<S: AsyncRead + AsyncWrite + Unpin>(
    connect: impl AsyncFn() -> Result<Connection<S>>,
    at_sign: &AtSign,
    secret: &str,
    file: &Path,
) -> Result<()> {
    let partial = partial(file);
    let earlier = is_unfinished(file).then(|| Keys::read(&partial)).transpose()?;
    let is_new = earlier.is_none();
    // Before the connection is there: it takes a while, and servers do not wait long for strangers.
    let keys = match earlier {
        Some(keys) => keys,
        None => Keys::generate()?,
    };
    let mut connection = connect().await?;
    if is_new {
        keys.write(&partial)?;
    }
    // An earlier run may have come as far as that the secret is forgotten.
    if is_new || connection.pkam(at_sign.as_str(), &keys).await.is_err() {
        if !is_new {
            connection = connect().await?;
        }
        if let Err(error) = connection.cram(at_sign.as_str(), secret).await {
            if is_new {
                fs::remove_file(&partial)?;
            }
            return Err(error.context(
                "the server does not take the activation secret: it was used already, or is another atSign's",
            ));
        }
        connection
            .command(&format!("update:privatekey:at_pkam_publickey {}", keys.pkam_public_key()?))
            .await?;
        connection.pkam(at_sign.as_str(), &keys).await?;
    }
    connection
        .command(&format!("update:public:publickey{at_sign} {}", keys.encryption_public_key()?))
        .await?;
    connection.command("delete:privatekey:at_secret").await?;
    fs::rename(&partial, file)
        .with_context(|| format!("renaming {} to {}", partial.display(), file.display()))
}

/// Whether an earlier [`onboard`] stopped halfway: running it again completes it.
pub fn is_unfinished(file: &Path) -> bool {
    partial(file).exists()
}

/// Where the keys are until the server has taken them.
fn partial(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    file.with_file_name(name)
}
