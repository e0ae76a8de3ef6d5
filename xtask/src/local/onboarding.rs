//! What an SDK's activation tool does: log in with the activation secret once, hand over public keys, forget the secret.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::client::Client;
use rsa::rand_core::{OsRng, RngCore as _};

use super::Member;
use super::keys::{Keys, write_private};

/// The file in `folder` with the activation secret, 128 hex digits; made where it is missing.
///
/// # Errors
/// It cannot be written.
pub(super) fn secret(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("secret");
    if !path.exists() {
        let mut random = [0; 64];
        OsRng.try_fill_bytes(&mut random)?;
        let hex = random.iter().try_fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}")?;
            anyhow::Ok(hex)
        })?;
        write_private(&path, &hex)?;
    }
    Ok(path)
}

/// Gives `member` keys, unless it has some; then they are tried.
///
/// It may stop anywhere and be run again: the keys are on disk before the server hears of them, under their final name
/// only when the server has forgotten the secret.
///
/// # Errors
/// The server refuses.
pub(super) fn onboard(member: &Member, ca: &str) -> Result<()> {
    let at_sign = member.at_sign.as_str();
    let mut connection = Client::connect_to(&format!("127.0.0.1:{}", member.port), "localhost", ca)?;
    if member.keys.exists() {
        let keys = Keys::read(&member.keys)?;
        return pkam(&mut connection, at_sign, &keys).with_context(|| {
            format!(
                "{} does not fit {}; remove both to begin anew",
                member.keys.display(),
                member.folder.display()
            )
        });
    }
    let partial = member.folder.join("new.atKeys");
    let keys = match Keys::read(&partial) {
        Ok(keys) => keys,
        Err(_) => Keys::generate()?,
    };
    keys.write(&partial)?;
    // An earlier run may have come as far as that the secret is forgotten.
    if pkam(&mut connection, at_sign, &keys).is_err() {
        connection = Client::connect_to(&format!("127.0.0.1:{}", member.port), "localhost", ca)?;
        let secret = fs::read_to_string(secret(&member.folder)?)?;
        connection.cram(at_sign, secret.trim())?;
        command(
            &mut connection,
            &format!("update:privatekey:at_pkam_publickey {}", keys.pkam_public_key()?),
        )?;
        pkam(&mut connection, at_sign, &keys)?;
    }
    command(&mut connection, &format!("update:public:publickey{at_sign} {}", keys.encryption_public_key()?))?;
    command(&mut connection, "delete:privatekey:at_secret")?;
    Ok(fs::rename(&partial, &member.keys)?)
}

fn pkam(connection: &mut Client, at_sign: &str, keys: &Keys) -> Result<()> {
    let challenge = connection.challenge(at_sign)?;
    command(connection, &format!("pkam:{}", keys.sign(&challenge)))
}

fn command(connection: &mut Client, command: &str) -> Result<()> {
    let answer = connection.request(command)?;
    // Not the whole command: there may be a signature in it.
    let verb = command.split([':', ' ']).next().unwrap_or_default();
    ensure!(answer.starts_with("data:"), "{verb} answered {answer:?}");
    Ok(())
}
