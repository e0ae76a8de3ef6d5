//! `update`, `update:json` and `update:meta` (reference page sections 2.9 and 2.10).

use atsign_protocol::verb::{NotifyOperation, Subject, Update, UpdateMeta};
use atsign_protocol::{AtError, AtKey, AtSign, ErrorCode, Intent, key};

use crate::atserver::AtServer;
use crate::notifications::of_change;
use crate::session::{Answer, Client};
use crate::store::notifications::Posting;
use crate::store::{Change, Operation, Store};

pub(super) async fn update<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    update: Update,
) -> Result<Answer, AtError> {
    let Update { uncommitted, key, metadata, value } = update;
    // Whoever is over a limit must still be able to come in.
    let rationed = !matches!(key, Subject::PkamPublicKey);
    let (key, committed) = match key {
        Subject::PkamPublicKey => (key::PKAM_PUBLIC_KEY.to_owned(), false),
        Subject::Key(key) => storable(&key, &server.at_sign)?,
        Subject::OwnKey { visibility, entity } => {
            storable(&AtKey::new(false, visibility, &entity, server.at_sign.clone())?, &server.at_sign)?
        }
    };
    client.authorize("update", Intent::Write, &key)?;
    let (operation, committed) = (Operation::UpdateAll, committed && !uncommitted);
    let by = server.at_sign.to_string();
    let change = Change::Put { key, value: Some(value), metadata, operation, committed, by, rationed };
    put(server, change).await
}

pub(super) async fn update_meta<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    update: UpdateMeta,
) -> Result<Answer, AtError> {
    let UpdateMeta { uncommitted, key, metadata } = update;
    let (key, committed) = storable(&key, &server.at_sign)?;
    client.authorize("update", Intent::Write, &key)?;
    let (operation, committed) = (Operation::UpdateMeta, committed && !uncommitted);
    let by = server.at_sign.to_string();
    put(server, Change::Put { key, value: None, metadata, operation, committed, by, rationed: true }).await
}

/// The name to store a key by, and whether the commit log has it.
fn storable(key: &AtKey, own: &AtSign) -> Result<(String, bool), AtError> {
    if key.owner != *own {
        let text = format!(
            "Invalid update command - sharedBy atsign {} should be same as current atsign {own}",
            key.owner
        );
        return Err(AtError::new(ErrorCode::InvalidAtKey, text));
    }
    key.check_storable()?;
    Ok((key.to_string(), key.is_committed()))
}

async fn put<S: Store>(server: &AtServer<S>, change: Change) -> Result<Answer, AtError> {
    let now = server.now();
    let shared = AtKey::parse(change.key()).ok();
    let told = shared
        .and_then(|key| of_change(&server.at_sign, &key, NotifyOperation::Update, &server.settings, now));
    let id = match told {
        Some(notification) => {
            let posting =
                Posting { notification, change: Some(change), tells_of_change: true, rationed: true };
            server.store.post(posting, now).await?.commit
        }
        None => server.store.commit(change, now).await?,
    };
    Ok(Answer::text(id.to_string()))
}
