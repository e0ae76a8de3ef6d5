//! The access log on its way to the store: entries are gathered, so that a stranger's lookup costs no write.

use std::sync::{Mutex, PoisonError};

use atsign_protocol::{AtSign, Command, Millis, key};

use crate::store::{Store, StoreError, Visit};

/// Entries that are gathered before they are written together. A server that dies loses them.
const GATHERED: usize = 64;

/// The entries that are not in the store yet.
#[derive(Default)]
pub(crate) struct AccessLog {
    gathered: Mutex<Vec<Visit>>,
}

impl AccessLog {
    /// Notes a command, if it is one of those that the log has. `by`: who proved to be whom.
    pub(crate) async fn note_command(
        &self,
        store: &impl Store,
        command: &Command,
        by: Option<&AtSign>,
        now: Millis,
    ) {
        let (verb, at_sign, key) = match command {
            Command::From(from) => ("from", Some(&from.at_sign), None),
            Command::Cram(_) => ("cram", by, None),
            Command::Lookup(lookup) => ("lookup", by, Some(&lookup.key)),
            Command::ProxyLookup(plookup) => ("plookup", by, Some(&plookup.key)),
            _ => return,
        };
        let key = key.map(|key| key.to_string().chars().take(key::MAX_CACHED_CHARS).collect());
        self.note(store, Visit { at: now, at_sign: at_sign.map(AtSign::to_string), verb, key }).await;
    }

    /// Adds an entry.
    pub(crate) async fn note(&self, store: &impl Store, visit: Visit) {
        let full = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.push(visit);
            gathered.len() >= GATHERED
        };
        if full && let Err(error) = self.flush(store).await {
            tracing::debug!(%error, "entries of the access log were lost");
        }
    }

    /// Writes what is gathered.
    pub(crate) async fn flush(&self, store: &impl Store) -> Result<(), StoreError> {
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if gathered.is_empty() { Ok(()) } else { store.note(gathered).await }
    }
}
