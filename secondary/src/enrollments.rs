//! The enrollments of one atSign in its store, and what their clients may do now.

use std::sync::Arc;

use atsign_protocol::enrollment::{STORED, stored_name};
use atsign_protocol::{Access, AtError, Enrollment, ErrorCode, Field, MetadataChange, Millis};

use crate::atserver::AtServer;
use crate::store::{Change, Operation, Record, Store};

/// Enrollments read at a time.
pub(crate) const PAGE: usize = 50;

/// The largest record, bytes: it is read before each command of its clients.
const LARGEST: usize = 64 * 1024;

/// A stored enrollment.
pub(crate) struct Stored {
    /// What it is.
    pub(crate) enrollment: Enrollment,
    /// When it ends by itself.
    pub(crate) ends: Option<Millis>,
}

/// The enrollment of an id: AT0028 where there is none, or where it has ended.
pub(crate) async fn find<S: Store>(server: &AtServer<S>, id: &str) -> Result<Stored, AtError> {
    let expired = || AtError::enrollment_expired(id);
    let Some(Record { value: Some(json), metadata }) =
        server.store.get(&stored_name(&id.to_lowercase(), &server.at_sign)).await?
    else {
        return Err(expired());
    };
    let Some(enrollment) = read(&json).filter(|_| metadata.is_active(server.now())) else {
        return Err(expired());
    };
    Ok(Stored { enrollment, ends: metadata.expires_at })
}

/// What the clients of an enrollment may do now, or why they may not log in.
pub(crate) async fn access<S: Store>(
    server: &AtServer<S>,
    id: &str,
) -> Result<(Enrollment, Arc<Access>), AtError> {
    let enrollment = find(server, id).await?.enrollment;
    if let Some(refusal) = enrollment.approval.state.refusal(id) {
        return Err(refusal);
    }
    let access = Access { enrollment_id: id.to_owned(), namespaces: enrollment.namespaces.clone() };
    Ok((enrollment, Arc::new(access)))
}

/// Stores an enrollment that ends by itself at a time, or never.
pub(crate) async fn store<S: Store>(
    server: &AtServer<S>,
    id: &str,
    enrollment: &Enrollment,
    ends: Option<Millis>,
) -> Result<(), AtError> {
    server.store.commit(change(server, id, enrollment, ends)?, server.now()).await?;
    Ok(())
}

/// What stores it.
pub(crate) fn change<S>(
    server: &AtServer<S>,
    id: &str,
    enrollment: &Enrollment,
    ends: Option<Millis>,
) -> Result<Change, AtError> {
    let json = serde_json::to_string(enrollment).unwrap_or_default();
    if json.len() > LARGEST {
        let text = format!("an enrollment has {LARGEST} bytes at most, and this one {}", json.len());
        return Err(AtError::new(ErrorCode::IllegalArgument, text));
    }
    let left = |ends: Millis| Field::Set(ends.saturating_sub(server.now()).max(1));
    let metadata = MetadataChange { ttl: ends.map_or(Field::Clear, left), ..MetadataChange::default() };
    Ok(put_uncommitted(server, stored_name(id, &server.at_sign), json, metadata, false))
}

/// Stores what clients do not write themselves; the commit log does not have it.
pub(crate) async fn put<S: Store>(
    server: &AtServer<S>,
    key: String,
    value: String,
    metadata: MetadataChange,
) -> Result<(), AtError> {
    server.store.commit(put_uncommitted(server, key, value, metadata, false), server.now()).await?;
    Ok(())
}

/// The same for what clients have it keep, within the limits of the tier.
pub(crate) async fn put_rationed<S: Store>(
    server: &AtServer<S>,
    key: String,
    value: String,
) -> Result<(), AtError> {
    let change = put_uncommitted(server, key, value, MetadataChange::default(), true);
    server.store.commit(change, server.now()).await?;
    Ok(())
}

fn put_uncommitted<S>(
    server: &AtServer<S>,
    key: String,
    value: String,
    metadata: MetadataChange,
    rationed: bool,
) -> Change {
    Change::Put {
        key,
        value: Some(value),
        metadata,
        operation: Operation::UpdateAll,
        committed: false,
        by: server.at_sign.to_string(),
        rationed,
    }
}

/// The next page of enrollments with their ids, and where the page after it begins.
pub(crate) async fn page<S: Store>(
    server: &AtServer<S>,
    after: Option<String>,
) -> Result<(Vec<(String, Enrollment)>, Option<String>), AtError> {
    let page = server.store.enrollments(after, PAGE, server.now()).await?;
    let next = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
    let read = page.into_iter().filter_map(|(key, record)| {
        let (id, _) = key.split_once(STORED)?;
        Some((id.to_owned(), read(record.value.as_deref()?)?))
    });
    Ok((read.collect(), next))
}

fn read(json: &str) -> Option<Enrollment> {
    serde_json::from_str(json).ok()
}
