//! Addresses from a file of lines `alice host:port`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use tracing::{info, warn};

use crate::address_book::{AddressBook, Entries, Origin};
use crate::record;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads the file, and returns what reads it again whenever it changes.
///
/// # Errors
/// The file cannot be read, or lines of it are bad; later, that is a warning and what was read before stays.
pub fn open(path: PathBuf, book: Arc<AddressBook>) -> Result<impl Future<Output = ()>> {
    let mut text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    book.replace(parse(&text).with_context(|| path.display().to_string())?);
    Ok(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Ok(new) = std::fs::read_to_string(&path) else { continue };
            if new == text {
                continue;
            }
            match parse(&new) {
                Ok(entries) => {
                    info!(file = %path.display(), addresses = entries.len(), "read the addresses again");
                    book.replace(entries);
                }
                Err(error) => warn!(file = %path.display(), "the addresses stay as they were: {error:#}"),
            }
            text = new;
        }
    })
}

/// The entries of `text`; the error names every bad line.
fn parse(text: &str) -> Result<Entries> {
    let records = record::lines(text).map_err(Error::msg)?;
    Ok(records.into_iter().map(|(name, address)| ((name, Origin::default()), address)).collect())
}
