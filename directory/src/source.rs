//! Where addresses come from.

pub mod file;
pub mod kubernetes;
pub mod redis;

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinHandle;

use crate::address_book::AddressBook;
use crate::addresses::{Addresses, Own};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::upstream::Upstream;

/// Starts what keeps `book` up to date, and returns it with what to answer from. A file is read once before this
/// returns, so that a bad one is told at once; a cluster or Redis that is away at start is waited for, unready.
pub async fn start(
    options: &Options,
    book: &Arc<AddressBook>,
    metrics: &Arc<Metrics>,
) -> Result<(Addresses, JoinHandle<()>)> {
    let ca = options.upstream_ca.as_deref();
    let upstream = options
        .upstream
        .as_ref()
        .map(|address| Upstream::new(address, ca, options.upstream_timeout, Arc::clone(metrics)))
        .transpose()?;
    if let Some(url) = &options.redis {
        let redis = redis::Redis::new(url, options.redis_ca.as_deref(), Arc::clone(metrics))?;
        let task = tokio::spawn(redis.first_contact(Arc::clone(book)));
        return Ok((Addresses::new(Own::Redis(redis), upstream), task));
    }
    let task = if let Some(path) = &options.file {
        tokio::spawn(file::open(path.clone(), Arc::clone(book))?)
    } else {
        let client = kube::Client::try_default().await?;
        tokio::spawn(kubernetes::watch(client, Arc::clone(book)))
    };
    Ok((Addresses::new(Own::Book(Arc::clone(book)), upstream), task))
}
