//! `delete` (reference page section 2.11).

use atsign_protocol::verb::{Delete, Deleted, NotifyOperation};
use atsign_protocol::{AtError, AtKey, ErrorCode, ImmutableRecord, Intent, MetadataChange, key};

use crate::atserver::AtServer;
use crate::notifications::of_change;
use crate::session::{Answer, Client};
use crate::store::notifications::Posting;
use crate::store::{Change, Operation, Store};

pub(super) async fn delete<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    delete: &Delete,
) -> Result<Answer, AtError> {
    match &delete.key {
        Deleted::CramSecret => {
            client.authorize("delete", Intent::Write, key::CRAM_SECRET)?;
            delete_secret(server).await
        }
        Deleted::Key(key) => {
            client.authorize("delete", Intent::Write, &key.to_string())?;
            delete_key(server, key, delete.force, !delete.uncommitted).await
        }
    }
}

async fn delete_key<S: Store>(
    server: &AtServer<S>,
    key: &AtKey,
    force: bool,
    committed: bool,
) -> Result<Answer, AtError> {
    let name = key.to_string();
    if key.is_protected() {
        return Err(AtError::new(ErrorCode::Unauthorized, format!("Cannot delete protected key: '{name}'")));
    }
    let now = server.now();
    if !force
        && let Some(stored) = server.store.get_up_to(&name, 0).await?
        && stored.metadata().immutable == Some(true)
        && !stored.metadata().is_expired(now)
    {
        return Err(AtError::new(ErrorCode::IllegalState, ImmutableRecord.to_string()));
    }
    let change = Change::Delete { key: name, committed: committed && key.is_committed() };
    let id = match of_change(&server.at_sign, key, NotifyOperation::Delete, &server.settings, now) {
        Some(notification) => {
            let posting =
                Posting { notification, change: Some(change), tells_of_change: true, rationed: false };
            server.store.post(posting, now).await?.commit
        }
        None => server.store.commit(change, now).await?,
    };
    Ok(Answer::text(id.to_string()))
}

/// The end of the onboarding. First the mark that stays: from then on the secret is worth nothing, also if the server
/// dies before the secret itself is gone.
async fn delete_secret<S: Store>(server: &AtServer<S>) -> Result<Answer, AtError> {
    let now = server.now();
    let mark = Change::Put {
        key: key::CRAM_SECRET_DELETED.to_owned(),
        value: Some("true".to_owned()),
        metadata: MetadataChange::default(),
        operation: Operation::UpdateAll,
        committed: false,
        by: server.at_sign.to_string(),
        rationed: false,
    };
    server.store.commit(mark, now).await?;
    server.store.commit(Change::Delete { key: key::CRAM_SECRET.to_owned(), committed: false }, now).await?;
    Ok(Answer::text("-1"))
}
