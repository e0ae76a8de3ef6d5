//! The activation (CRAM) secret: with it the owner proves to be the owner, once (reference page section 3.7).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use atsign_protocol::{AtSign, MetadataChange};

use crate::options::SecretSource;
use crate::store::{Change, Operation, Store, StoreError};

/// Set when the secret was used.
const DELETED: &str = "privatekey:at_secret_deleted";
const SECRET: &str = "privatekey:at_secret";

/// A file with more is not a secret.
const MAX_FILE: u64 = 4096;

/// Why the secret is not stored.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// Its file.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Stores the secret that was given, unless the atSign was activated: then it is worth nothing any more.
pub async fn prepare(
    store: &impl Store,
    at_sign: &AtSign,
    source: Option<&SecretSource>,
) -> Result<(), ActivationError> {
    let Some(source) = source else { return Ok(()) };
    if store.get(DELETED).await?.is_some() {
        return Ok(());
    }
    let secret = match source {
        SecretSource::Given(secret) => secret.clone(),
        SecretSource::File(path) => {
            read(path).map_err(|reason| ActivationError::File { path: path.clone(), reason })?
        }
    };
    if store.get(SECRET).await?.is_some_and(|stored| stored.value.as_deref() == Some(&secret)) {
        return Ok(());
    }
    let change = Change::Put {
        key: SECRET.to_owned(),
        value: Some(secret),
        metadata: MetadataChange::default(),
        operation: Operation::Update,
        committed: false,
        by: at_sign.as_str().to_owned(),
        rationed: false,
    };
    store.commit(change, jiff::Timestamp::now().as_millisecond()).await?;
    Ok(())
}

fn read(path: &Path) -> io::Result<String> {
    let mut secret = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut secret)?;
    match secret.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "there is no secret in it")),
        secret => Ok(secret.to_owned()),
    }
}
