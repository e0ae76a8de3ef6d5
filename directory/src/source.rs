//! Where addresses come from.

pub mod file;
pub mod kubernetes;

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::address_book::AddressBook;
use crate::options::Options;

/// Starts what keeps `book` up to date. A file is read once before this returns, so that a bad one is told at once; a
/// cluster that is away at start is waited for, unready.
pub async fn start(options: &Options, book: &Arc<AddressBook>) -> Result<JoinHandle<()>> {
    if let Some(path) = &options.file {
        return Ok(tokio::spawn(file::open(path.clone(), Arc::clone(book))?));
    }
    let client = kube::Client::try_default().await?;
    Ok(tokio::spawn(kubernetes::watch(client, Arc::clone(book))))
}
