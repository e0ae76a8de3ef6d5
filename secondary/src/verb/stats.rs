//! `stats` (reference page section 2.15).

use atsign_protocol::AtError;
use atsign_protocol::verb::{Figure, Stats};
use serde::Serialize;
use serde_json::Value;

use super::{info, regex};
use crate::atserver::AtServer;
use crate::session::{Answer, Client};
use crate::store::Store;

/// One figure as it is answered.
#[derive(Serialize)]
struct Entry {
    id: String,
    name: &'static str,
    value: Value,
}

pub(super) async fn stats<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    stats: &Stats,
) -> Result<Answer, AtError> {
    if let Some(pattern) = &stats.regex {
        // The store compiles it again; here it gets its answer where it is none.
        regex(pattern, client)?;
    }
    let mut entries = Vec::with_capacity(stats.figures.len());
    for figure in &stats.figures {
        let value = match figure {
            Figure::LastCommitId => {
                Value::from(server.store.last_commit(stats.regex.clone()).await?.to_string())
            }
            Figure::StorageSize => Value::from(server.store.size().await?.1),
            Figure::Version => Value::from(info::VERSION),
        };
        entries.push(Entry { id: figure.id().to_string(), name: figure.name(), value });
    }
    // Texts and numbers always serialise.
    Ok(Answer::Spaced(serde_json::to_string(&entries).unwrap_or_default()))
}
