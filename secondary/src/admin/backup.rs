//! `/backup`: `POST` has a backup made, `GET` says what became of the last one. Neither waits for the volume. `GET
//! /backup?name=…` sends one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, StatusCode};
use tokio::sync::Semaphore;

use super::http::{body, text};
use super::sending::Sending;
use super::{Admin, Answer, Asked, refusal};
use crate::atserver::AtServer;
use crate::backup::{self, KEPT, Manifest, is_name};
use crate::store::SqliteStore;

/// The backups of this process.
#[derive(Debug)]
pub struct Backups {
    storage: PathBuf,
    state: Mutex<State>,
    /// Of who is sent one.
    places: Arc<Semaphore>,
}

/// What became of the last one.
#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    None,
    Running,
    Made(Box<Manifest>),
    Failed(String),
}

/// Counts for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// When the last backup in the storage directory was made, Unix seconds; 0 for never.
    pub(super) last: u64,
    /// Whether the last one that was asked for failed.
    pub(super) failed: bool,
}

impl Backups {
    /// Those of a storage directory.
    pub fn new(storage: PathBuf) -> Self {
        Self { storage, state: Mutex::default(), places: Arc::new(Semaphore::new(1)) }
    }

    pub(super) fn figures(&self) -> Figures {
        match self.state() {
            State::Made(manifest) => Figures { last: manifest.made_at().unsigned_abs(), failed: false },
            State::Failed(_) => Figures { last: 0, failed: true },
            State::None | State::Running => Figures::default(),
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// False where one is being made.
    fn begin(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(std::mem::replace(&mut *state, State::Running), State::Running)
    }
}

pub(super) fn answer(request: &Request<()>, admin: &Arc<Admin>) -> Asked {
    if let Some(refusal) = refusal(request, admin) {
        return Asked::Answered(refusal);
    }
    match (request.method() == Method::GET, request.uri().query()) {
        (true, None) => Asked::Answered(last(&admin.backups)),
        (true, Some(query)) => to_send(query, &admin.backups),
        (false, _) => Asked::Answered(to_make(request, admin)),
    }
}

/// Where a backup is that is to be sent, if nobody is sent one.
fn to_send(query: &str, backups: &Backups) -> Asked {
    let Some(name) = named(query) else {
        let expected = format!("?{query}: expected ?name=NAME, the name of a backup\n");
        return Asked::Answered(text(StatusCode::BAD_REQUEST, expected));
    };
    let folder = backups.storage.join(backup::FOLDER).join(name);
    match Arc::clone(&backups.places).try_acquire_owned() {
        Ok(place) => Asked::ToSend(Sending { folder, place }),
        Err(_) => Asked::Answered(text(
            StatusCode::CONFLICT,
            "a backup is being sent already, and one at a time is\n",
        )),
    }
}

/// The name of a backup in a query: nothing else of a volume can be asked for.
pub fn named(query: &str) -> Option<&str> {
    query.strip_prefix("name=").filter(|name| is_name(name))
}

fn to_make(request: &Request<()>, admin: &Arc<Admin>) -> Answer {
    let kept = match kept(request.uri().query()) {
        Ok(kept) => kept,
        Err(reason) => return text(StatusCode::BAD_REQUEST, reason),
    };
    let Some(server) = admin.server.get() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", admin.status.state().sentence()));
    };
    if admin.backups.begin() {
        tokio::spawn(make(Arc::clone(admin), Arc::clone(server), kept));
    }
    last(&admin.backups)
}

/// The number of backups to keep, as asked for in the query.
pub fn kept(query: Option<&str>) -> Result<usize, String> {
    let Some(query) = query else { return Ok(KEPT) };
    let number = query.strip_prefix("keep=").and_then(|number| number.parse().ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("?{query}: expected ?keep=N, the number of backups to keep, 1 at least\n"))
}

fn last(backups: &Backups) -> Answer {
    match backups.state() {
        State::None => text(StatusCode::NOT_FOUND, "no backup was asked for since the server started\n"),
        State::Running => text(StatusCode::ACCEPTED, "a backup is being made; GET /backup tells its end\n"),
        State::Failed(reason) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")),
        State::Made(manifest) => match serde_json::to_string_pretty(&manifest) {
            Ok(json) => body(StatusCode::OK, "application/json", json),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
    }
}

async fn make(admin: Arc<Admin>, server: Arc<AtServer<SqliteStore>>, kept: usize) {
    let backups = &admin.backups;
    let made = backup::make(&server.store, &backups.storage, server.at_sign.as_str(), kept).await;
    backups.set(match made {
        Ok(manifest) => {
            tracing::info!(name = manifest.name, bytes = manifest.bytes, "a backup was made");
            State::Made(Box::new(manifest))
        }
        Err(error) => {
            tracing::error!(%error, "there is no backup");
            State::Failed(error.to_string())
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_backups_are_kept_is_a_number_of_1_at_least() {
        assert_eq!(kept(None), Ok(KEPT));
        assert_eq!(kept(Some("keep=3")), Ok(3));
        for query in ["keep=0", "keep=-1", "keep=", "keep=x", "kept=3", ""] {
            assert!(kept(Some(query)).expect_err(query).contains("expected ?keep=N"), "{query}");
        }
    }

    #[test]
    fn what_is_sent_has_the_name_of_a_backup_and_is_no_other_file() {
        assert_eq!(named("name=2026-11-24T15-04-05.060Z"), Some("2026-11-24T15-04-05.060Z"));
        for query in ["", "name=", "name=..", "name=../epoch", "name=latest", "2026-11-24T15-04-05.060Z"] {
            assert_eq!(named(query), None, "{query}");
        }
    }
}
