//! `notify:status`, `notify:list`, `notify:fetch` and `notify:remove` (reference page section 2.13).

use std::io;

use atsign_protocol::verb::NotificationList;
use atsign_protocol::{AtError, Intent, Millis};
use serde_json::json;
use tokio::io::AsyncWrite;

use super::regex;
use crate::atserver::AtServer;
use crate::memory::Lease;
use crate::notifications::held::{self, Held};
use crate::notifications::{Entry, status as told, stringified};
use crate::session::{Answer, Client, Writer};
use crate::store::Store;
use crate::store::notifications::{Notification, Search, Which};

/// The received ones, one after the other out of the store and onto the wire; those of a peer to itself.
pub(super) async fn list<S, T>(
    server: &AtServer<S>,
    client: &Client,
    list: &NotificationList,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let peer = client.peer().map(ToString::to_string);
    if !client.is_owner() && peer.is_none() {
        return Ok(Ok(Answer::Null));
    }
    let regex = match list.regex.as_deref().map(|pattern| regex(pattern, client)).transpose() {
        Ok(regex) => regex,
        Err(error) => return Ok(Err(error)),
    };
    let (mut after, mut first) = (0, true);
    let since = list.from.map_or(Millis::MIN, |from| from.saturating_sub(1));
    loop {
        let search = Search { after, since, now: server.now(), own: false };
        let Held { notification, lease } =
            match held::read(server, client.taker(), Which::Received(search)).await {
                Ok(Some(held)) => held,
                Ok(None) => break,
                Err(error) => return Ok(Err(error.into())),
            };
        after = notification.seq;
        let wanted = client.may_hear(&notification)
            && list.to.is_none_or(|to| notification.at <= to)
            && peer.as_ref().is_none_or(|peer| *peer == notification.sender)
            && regex.as_ref().is_none_or(|regex| {
                regex.is_match(&notification.key) || regex.is_match(&notification.sender)
            });
        if wanted {
            writer.push(if std::mem::take(&mut first) { b"data:[" } else { b"," }).await?;
            writer.push(Entry::of_list(&notification).to_json().as_bytes()).await?;
        }
        drop(lease);
    }
    if first {
        return Ok(Ok(Answer::Null));
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

/// How far the notification of that id has come.
pub(super) async fn status<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    id: String,
) -> Result<Answer, AtError> {
    let (found, _lease) = named(server, client, id).await?;
    // A stranger who guessed an id learns nothing; another server learns of its own.
    let found = found.filter(|found| {
        (client.is_owner() && client.may_hear(found))
            || client
                .peer()
                .is_some_and(|peer| found.sender == peer.as_str() || found.recipient == peer.as_str())
    });
    Ok(found.map_or(Answer::Null, |found| Answer::text(told(&found, server.now()))))
}

/// All that is known of it.
pub(super) async fn fetch<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    id: String,
) -> Result<Answer, AtError> {
    let (found, lease) = named(server, client, id.clone()).await?;
    if let Some(found) = &found
        && !client.may_hear(found)
    {
        client.authorize("notify", Intent::Read, &found.key)?;
    }
    let text = match found {
        Some(found) => stringified(&found, server.now()),
        None => json!({"id": id, "notificationStatus": "NotificationStatus.expired"}).to_string(),
    };
    Ok(Answer::held(text, lease))
}

/// The notification of an id, and the memory that it takes.
async fn named<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    id: String,
) -> Result<(Option<Notification>, Option<Lease>), AtError> {
    let held = held::read(server, client.taker(), Which::Named(id)).await?;
    Ok(held.map(|held| (*held.notification, held.lease)).unzip())
}

/// Forgets it; one to be sent is not sent.
pub(super) async fn remove<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    id: String,
) -> Result<Answer, AtError> {
    // Only an enrollment's clients may be kept from it; others are spared the look.
    if client.access.is_some()
        && let (Some(found), _lease) = named(server, client, id.clone()).await?
    {
        client.authorize("notify", Intent::Write, &found.key)?;
    }
    server.store.remove_notification(id).await?;
    Ok(Answer::text("success"))
}
