//! An atSign's keys, and the `.atKeys` file in which SDKs keep them.
//!
//! The file is JSON. Each RSA key (DER, then base64) is encrypted in it by AES-256 in counter mode, from a counter of
//! zero and with PKCS#7 padding, under the self encryption key, which stands beside them in the clear.

use std::fs;
use std::path::Path;

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rsa::rand_core::{OsRng, RngCore as _};
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::{RsaPrivateKey, pkcs1v15};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The size that the SDKs make.
const RSA_BITS: usize = 2048;

/// The block size of AES, to which PKCS#7 pads.
const BLOCK: usize = 16;

/// The keys of an atSign's owner.
pub struct Keys {
    /// Logs in.
    pkam: RsaPrivateKey,
    /// Others encrypt for it.
    encryption: RsaPrivateKey,
    /// Encrypts what the owner keeps, and the other keys in the file.
    own: [u8; 32],
}

/// The file. The names are the SDKs'.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are given")]
struct AtKeys {
    aes_pkam_public_key: String,
    aes_pkam_private_key: String,
    aes_encrypt_public_key: String,
    aes_encrypt_private_key: String,
    self_encryption_key: String,
}

impl Keys {
    /// New keys.
    pub fn generate() -> Result<Self> {
        // Finding primes takes seconds where this program is not optimised, so both at once.
        let (pkam, encryption) = std::thread::scope(|scope| {
            let other = scope.spawn(|| RsaPrivateKey::new(&mut OsRng, RSA_BITS));
            let own = RsaPrivateKey::new(&mut OsRng, RSA_BITS);
            (own, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let mut own = [0; 32];
        OsRng.try_fill_bytes(&mut own)?;
        Ok(Self { pkam: pkam?, encryption: encryption?, own })
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no keys file", path.display()))
    }

    /// Reads a file's content.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let file: AtKeys = serde_json::from_slice(json)?;
        let own = BASE64.decode(&file.self_encryption_key)?;
        let own = own.try_into().ok().context("the self encryption key has no 256 bits")?;
        let private_key = |encrypted: &str| -> Result<RsaPrivateKey> {
            Ok(RsaPrivateKey::from_pkcs8_der(&BASE64.decode(decrypt(&own, encrypted)?)?)?)
        };
        let pkam = private_key(&file.aes_pkam_private_key)?;
        let encryption = private_key(&file.aes_encrypt_private_key)?;
        Ok(Self { pkam, encryption, own })
    }

    /// Writes the file, for its owner's eyes only. It is on disk when this returns.
    pub fn write(&self, path: &Path) -> Result<()> {
        let private_key = |key: &RsaPrivateKey| -> Result<String> {
            Ok(encrypt(&self.own, &BASE64.encode(key.to_pkcs8_der()?.as_bytes())))
        };
        let file = AtKeys {
            aes_pkam_public_key: encrypt(&self.own, &self.pkam_public_key()?),
            aes_pkam_private_key: private_key(&self.pkam)?,
            aes_encrypt_public_key: encrypt(&self.own, &self.encryption_public_key()?),
            aes_encrypt_private_key: private_key(&self.encryption)?,
            self_encryption_key: BASE64.encode(self.own),
        };
        write_private(path, &serde_json::to_string_pretty(&file)?)
    }

    /// The key that the server checks logins with, as the protocol has it.
    pub fn pkam_public_key(&self) -> Result<String> {
        Ok(BASE64.encode(self.pkam.to_public_key().to_public_key_der()?))
    }

    /// The key that others encrypt with, as the protocol has it.
    pub fn encryption_public_key(&self) -> Result<String> {
        Ok(BASE64.encode(self.encryption.to_public_key().to_public_key_der()?))
    }

    /// The answer to a login challenge.
    pub fn sign(&self, challenge: &str) -> String {
        let key = pkcs1v15::SigningKey::<Sha256>::new(self.pkam.clone());
        BASE64.encode(key.sign(challenge.as_bytes()).to_bytes())
    }
}

fn encrypt(key: &[u8; 32], text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let padding = BLOCK - bytes.len() % BLOCK;
    bytes.extend(std::iter::repeat_n(u8::try_from(padding).unwrap_or_default(), padding));
    stream(key).apply_keystream(&mut bytes);
    BASE64.encode(bytes)
}

fn decrypt(key: &[u8; 32], text: &str) -> Result<String> {
    let mut bytes = BASE64.decode(text)?;
    stream(key).apply_keystream(&mut bytes);
    let padding = usize::from(*bytes.last().context("an empty key")?);
    bytes.truncate(bytes.len().checked_sub(padding).context("a key is cut off")?);
    Ok(String::from_utf8(bytes)?)
}

fn stream(key: &[u8; 32]) -> ctr::Ctr128BE<aes::Aes256> {
    ctr::Ctr128BE::new(key.into(), &[0; BLOCK].into())
}

/// Writes a file that only its owner may read. It is on disk when this returns.
pub fn write_private(path: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let doing = || format!("writing {}", path.display());
    let mut file = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(doing)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).with_context(doing)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).with_context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_after_they_were_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("@alice_key.atKeys");
        let keys = Keys::generate().unwrap();
        keys.write(&path).unwrap();
        let read = Keys::read(&path).unwrap();
        assert_eq!(read.pkam_public_key().unwrap(), keys.pkam_public_key().unwrap());
        assert_eq!(read.encryption_public_key().unwrap(), keys.encryption_public_key().unwrap());
        assert_eq!(read.sign("a challenge"), keys.sign("a challenge"));
        assert_eq!(read.own, keys.own);
        fs::write(&path, "{}").unwrap();
        assert!(Keys::read(&path).is_err());
    }

    /// `printf 'hello, world' | openssl enc -aes-256-ctr -K 00…00 -iv 00…00 -base64`, with four bytes of padding.
    #[test]
    fn the_cipher_is_aes_256_in_counter_mode() {
        assert_eq!(encrypt(&[0; 32], "hello, world"), "tPCsFM1sqf7COs5wloAkgw==");
        assert_eq!(decrypt(&[0; 32], "tPCsFM1sqf7COs5wloAkgw==").unwrap(), "hello, world");
    }
}
