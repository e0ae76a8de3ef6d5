//! Copies of other atSigns' data: when they are made, refreshed, and given up (reference page section 3.4).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::verb::{NotifyOperation, Operation as Part};
use atsign_protocol::{AtError, AtKey, AtSign, Field, Metadata, MetadataChange, Millis, Visibility};
use serde_json::json;

use crate::atserver::AtServer;
use crate::memory::{Level, Taker};
use crate::notifications;
use crate::store::notifications::{Notification, Posting};
use crate::store::{Change, Operation, Page, Store, StoreError};
use crate::verb::remote;

/// A copy without a time to refresh is kept for so long: for `llookup`, not for `lookup`.
const DAY: Millis = 24 * 60 * 60 * 1000;
const HOUR: Millis = 60 * 60 * 1000;

/// How long clients may come for what the server tells them of an atSign.
const EVENT_TTL: Millis = 30 * DAY;

/// Copies that are looked through at a time.
const PAGE: usize = 50;

/// The key that an atSign's other keys are encrypted for. It hardly ever changes, and is asked for all the time.
const PUBLIC_KEY: &str = "publickey";

/// Refreshes the copies that are due once a day, and whenever `config:set` says so.
pub(crate) async fn keep_fresh<S: Store>(server: Arc<AtServer<S>>) -> Infallible {
    loop {
        let wait = until_refresh(server.settings.behaviour.refresh_hour, server.now());
        // Whichever ends first.
        let _ = tokio::time::timeout(wait, server.settings.refresh_now.notified()).await;
        if let Err(error) = refresh(&server).await {
            tracing::warn!(%error, "not all copies were refreshed");
        }
    }
}

/// A day, or until that hour begins.
fn until_refresh(hour: Option<u8>, now: Millis) -> Duration {
    let wait = hour.map_or(DAY, |hour| {
        let since = (now - i64::from(hour) * HOUR).rem_euclid(DAY);
        DAY - since
    });
    Duration::from_millis(wait.unsigned_abs())
}

/// Fetches the copies again whose time to refresh is past; those that are gone at their owner's go here too.
async fn refresh<S: Store>(server: &AtServer<S>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        if server.budget.level() >= Level::NothingAhead {
            return Ok(());
        }
        server.budget.reads_in_bulk();
        let page = Page { after, prefix: "cached:".to_owned(), limit: PAGE };
        let copies = server.store.scan(page, server.now()).await?;
        for copy in &copies {
            let Some(stored) = server.store.get_up_to(copy, 0).await? else { continue };
            let due = stored.metadata().refresh_at.is_some_and(|refresh_at| refresh_at < server.now());
            if due && let Ok(key) = AtKey::parse(copy) {
                let key = AtKey { cached: false, ..key };
                // Nobody waits for it: it takes nothing of what the owner's commands may have.
                let room = server.budget.lease(Taker::Guest);
                if let Err(error) = remote::fetch(server, key, Part::Value, room).await {
                    tracing::debug!(copy, error = error.message(), "a copy was not refreshed");
                }
            }
        }
        if copies.len() < PAGE {
            return Ok(());
        }
        after = copies.into_iter().next_back();
    }
}

/// Whether a copy is answered instead of asking. One without a time to refresh never is.
pub(crate) fn is_fresh(metadata: &Metadata, now: Millis) -> bool {
    metadata.is_active(now)
        && match metadata.ttr {
            Some(-1) => true,
            Some(_) => metadata.refresh_at.is_some_and(|refresh_at| now <= refresh_at),
            None => false,
        }
}

/// Gives up the copy of a key that is gone.
pub(crate) async fn forget<S: Store>(
    server: &AtServer<S>,
    key: &AtKey,
    copy: String,
) -> Result<(), StoreError> {
    if is_public_key(key) || server.store.get_up_to(&copy, 0).await?.is_none() {
        return Ok(());
    }
    server.store.commit(Change::Delete { key: copy, committed: true }, server.now()).await?;
    Ok(())
}

/// Stores a copy of what was looked up, where the owner of the original or the rules for public data want one.
pub(crate) async fn keep<S: Store>(
    server: &AtServer<S>,
    key: &AtKey,
    copy: String,
    value: Option<&str>,
    metadata: &Metadata,
) -> Result<(), StoreError> {
    let Some(value) = value else { return Ok(()) };
    let mut change = MetadataChange::copy_of(metadata);
    if metadata.ttr.is_none_or(|ttr| ttr == 0) {
        if is_public_key(key) {
            change.ttr = Field::Set(-1);
        } else if key.visibility == Visibility::Public {
            change.ttl = Field::Set(metadata.ttl.filter(|ttl| *ttl > 0).map_or(DAY, |ttl| ttl.min(DAY)));
        } else {
            return Ok(());
        }
    }
    if is_public_key(key) {
        note_public_key(server, &key.owner, &copy, value).await?;
    }
    match server.store.commit(put(copy, value, change, &key.owner, true), server.now()).await {
        // The answer is right also where there can be no copy of it.
        Err(StoreError::Refused(why)) => tracing::debug!(why, "no copy was stored"),
        Err(StoreError::OverLimit(limit)) => tracing::debug!(%limit, "no copy was stored"),
        done => drop(done?),
    }
    Ok(())
}

/// What a notification of another server changes in the copy of the key that it is about.
pub(crate) async fn change_of<S: Store>(
    server: &AtServer<S>,
    copy: &AtKey,
    notification: &Notification,
) -> Result<Option<Change>, AtError> {
    let key = copy.to_string();
    let metadata = &notification.details.metadata;
    Ok(match notification.details.operation {
        NotifyOperation::Delete => {
            let stored = server.store.get_up_to(&key, 0).await?;
            let cascades = stored.is_some_and(|stored| stored.metadata().ccd == Some(true));
            cascades.then_some(Change::Delete { key, committed: true })
        }
        NotifyOperation::Update => match (&notification.value, metadata.ttr) {
            (Some(value), Some(_)) => {
                copy.check_storable()?;
                if is_public_key(copy) {
                    note_public_key(server, &copy.owner, &key, value).await?;
                }
                Some(put(key, value, MetadataChange::copy_of(metadata), &copy.owner, true))
            }
            _ => None,
        },
    })
}

fn is_public_key(key: &AtKey) -> bool {
    key.visibility == Visibility::Public && key.entity == PUBLIC_KEY
}

fn put(key: String, value: &str, metadata: MetadataChange, by: &AtSign, rationed: bool) -> Change {
    Change::Put {
        key,
        value: Some(value.to_owned()),
        metadata,
        operation: Operation::UpdateAll,
        committed: true,
        by: by.to_string(),
        rationed,
    }
}

/// Called with the public key of another atSign before it is stored. Where it is another one than before, what was
/// encrypted for that is put aside, so that clients make it anew, and they are told.
async fn note_public_key<S: Store>(
    server: &AtServer<S>,
    of: &AtSign,
    copy: &str,
    value: &str,
) -> Result<(), StoreError> {
    let before = server.store.get(copy).await?.and_then(|record| record.value);
    if before.is_none_or(|before| before == value) {
        return Ok(());
    }
    let (own, now) = (&server.at_sign, server.now());
    let key = format!("shared_key.{}{own}", of.name());
    // Who shares nothing with that atSign has nothing to do; so it cannot make us keep one event after the other.
    let Some(record) = server.store.get(&key).await? else { return Ok(()) };
    let aside = format!("shared_key.{}.until.{now}{own}", of.name());
    let value = record.value.unwrap_or_default();
    let change = put(aside, &value, MetadataChange::copy_of(&record.metadata), own, false);
    server.store.commit(change, now).await?;
    let event = format!("{}.events.__atserver{own}", now.saturating_mul(1000));
    let text =
        json!({"category": "atProtocol", "name": "atsign_pk_changed", "data": {"atSign": of.as_str()}})
            .to_string();
    let metadata = MetadataChange { ttl: Field::Set(EVENT_TTL), ..MetadataChange::default() };
    let change = put(event.clone(), &text, metadata, own, false);
    let notification = notifications::to_oneself(own, format!("{own}:{event}"), text, now);
    let posting = Posting { notification, change: Some(change), tells_of_change: false, rationed: false };
    server.store.post(posting, now).await?;
    // Last: whoever finds it gone finds the rest done.
    server.store.commit(Change::Delete { key, committed: true }, now).await?;
    tracing::info!(at_sign = %of, "the public key of another atSign has changed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_answered_until_it_is_to_be_refreshed() {
        let copy = |ttr, refresh_at| Metadata { ttr, refresh_at, ..Metadata::default() };
        assert!(is_fresh(&copy(Some(-1), None), 1000));
        assert!(is_fresh(&copy(Some(1), Some(1000)), 1000));
        assert!(!is_fresh(&copy(Some(1), Some(1000)), 1001));
        assert!(!is_fresh(&copy(None, None), 0));
        assert!(!is_fresh(&Metadata { expires_at: Some(5), ..copy(Some(-1), None) }, 5));
    }

    #[test]
    fn copies_are_refreshed_when_their_hour_begins() {
        let hours = |hour, now| until_refresh(hour, now).as_secs() / 3600;
        assert_eq!(hours(None, 5 * HOUR), 24);
        assert_eq!(hours(Some(3), 0), 3);
        assert_eq!(hours(Some(3), 2 * HOUR), 1);
        assert_eq!(hours(Some(3), 3 * HOUR), 24, "not twice in it");
        assert_eq!(hours(Some(0), 23 * HOUR), 1);
    }
}
