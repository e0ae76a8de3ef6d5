//! `notify` and `notify:all`, by the owner and by the server of another atSign (reference page section 2.12).

use std::collections::BTreeMap;

use atsign_protocol::verb::{MessageType, Notify, NotifyAll, Notifying, Strategy};
use atsign_protocol::{AtError, AtKey, AtSign, ErrorCode, Intent, Metadata, Millis};
use uuid::Uuid;

use super::notifications::{fetch, remove, status};
use crate::atserver::AtServer;
use crate::copies;
use crate::notifications::{LONGEST_TTLN, SYSTEM};
use crate::session::{Answer, Client};
use crate::store::Store;
use crate::store::notifications::{Details, Kind, Notification, Posting, Status};

pub(super) async fn notify<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    notifying: Notifying,
) -> Result<Answer, AtError> {
    let unproven = || {
        let text = "Notify command cannot be executed without authentication";
        Err(AtError::new(ErrorCode::Unauthenticated, text))
    };
    match notifying {
        Notifying::One(notify) => match client.peer() {
            Some(peer) => receive(server, peer, notify).await,
            None if client.is_owner() => Ok(Answer::text(send(server, client, notify).await?)),
            None => unproven(),
        },
        Notifying::All(all) if client.is_owner() => send_to_all(server, client, all).await,
        Notifying::All(_) => unproven(),
        Notifying::Status(id) => status(server, client, id).await,
        Notifying::Fetch(_) | Notifying::Remove(_) if !client.is_owner() => Err(AtError::unauthenticated()),
        Notifying::Fetch(id) => fetch(server, client, id).await,
        Notifying::Remove(id) => remove(server, client, id).await,
        // Written part by part, before it comes to this.
        Notifying::List(_) => Ok(Answer::Null),
    }
}

/// Takes the owner's notification for delivery, and returns its id.
pub(super) async fn send<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    notify: Notify,
) -> Result<String, AtError> {
    let own = &server.at_sign;
    if notify.owner.as_ref().is_some_and(|owner| owner != own) {
        return Err(AtError::new(ErrorCode::Unauthorized, "notifications are sent of own keys only"));
    }
    let recipient = notify.recipient.clone().unwrap_or_else(|| own.clone());
    let now = server.now();
    let is_key = notify.message_type == MessageType::Key;
    let mut notification = notification(server, own, &recipient, notify, now)?;
    // A text has no namespace, so it needs all of them.
    let key = if is_key { notification.key.clone() } else { format!("text{own}") };
    client.authorize("notify", Intent::Write, &key)?;
    let id = notification.id.clone();
    if recipient != *own {
        (notification.kind, notification.status) = (Kind::Sent, Status::Queued);
    }
    let posting = Posting { notification, change: None, tells_of_change: false, rationed: true };
    server.store.post(posting, now).await?;
    Ok(id)
}

async fn send_to_all<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    all: NotifyAll,
) -> Result<Answer, AtError> {
    let mut ids = BTreeMap::new();
    for recipient in all.recipients {
        // One id each, whatever was given: they are told apart by it.
        let notify = Notify { id: None, recipient: Some(recipient.clone()), ..all.notify.clone() };
        ids.insert(recipient.to_string(), send(server, client, notify).await?);
    }
    // Texts always serialise.
    Ok(Answer::Spaced(serde_json::to_string(&ids).unwrap_or_default()))
}

/// Takes what the server of `peer` tells, and changes the copy that it tells of.
pub(super) async fn receive<S: Store>(
    server: &AtServer<S>,
    peer: &AtSign,
    notify: Notify,
) -> Result<Answer, AtError> {
    let own = &server.at_sign;
    if notify.owner.as_ref().is_some_and(|owner| owner != peer) {
        return Err(AtError::new(ErrorCode::Unauthorized, format!("{peer} may tell of its own keys only")));
    }
    if notify.recipient.as_ref().is_some_and(|recipient| recipient != own) {
        return Err(AtError::new(
            ErrorCode::Unauthorized,
            format!("{own} takes notifications for itself only"),
        ));
    }
    let now = server.now();
    let copy = match notify.message_type {
        MessageType::Key => Some(AtKey { cached: true, ..notify.key(peer.clone())? }),
        MessageType::Text => None,
    };
    // A sender's queue is no matter of ours.
    let notify = Notify { strategy: Strategy::All, ..notify };
    let notification = notification(server, peer, own, notify, now)?;
    let change = match copy {
        Some(copy) => copies::change_of(server, &copy, &notification).await?,
        None => None,
    };
    let posting = Posting { notification, change, tells_of_change: false, rationed: true };
    server.store.post(posting, now).await?;
    Ok(Answer::text("success"))
}

/// The notification of `sender` for `recipient`, as one that has arrived.
fn notification<S>(
    server: &AtServer<S>,
    sender: &AtSign,
    recipient: &AtSign,
    notify: Notify,
    now: Millis,
) -> Result<Notification, AtError> {
    let key = match notify.message_type {
        MessageType::Key => notify.key(sender.clone())?.to_string(),
        MessageType::Text => match &notify.recipient {
            Some(recipient) => format!("{recipient}:{}", notify.name),
            None => format!("public:{}", notify.name),
        },
    };
    let default = server.settings.behaviour.notification_ttln;
    let ttln = notify.ttln.filter(|ttln| *ttln > 0).unwrap_or(default).min(LONGEST_TTLN);
    let metadata: Metadata = notify
        .metadata
        .apply(None, sender.as_str(), now)
        .map_err(|refused| AtError::new(ErrorCode::IllegalState, refused.to_string()))?;
    Ok(Notification {
        seq: 0,
        id: notify.id.unwrap_or_else(|| Uuid::new_v4().to_string()),
        kind: Kind::Received,
        sender: sender.to_string(),
        recipient: recipient.to_string(),
        at: now,
        expires_at: now.saturating_add(ttln),
        status: Status::Delivered,
        notifier: notify.notifier.unwrap_or_else(|| SYSTEM.to_owned()),
        key,
        details: Details {
            operation: notify.operation,
            message_type: notify.message_type,
            priority: notify.priority,
            strategy: notify.strategy,
            depth: notify.latest,
            ttln,
            tries: 0,
            metadata,
        },
        value: notify.value,
    })
}
