//! Delivers what is to be sent: in order to each recipient, and to none later because of another.
//!
//! What waits is in the store, so it survives a restart and takes no memory. Deliveries at a time are bounded, apart for
//! recipients that answered the last time and for those that did not: however many are down, the others have their own
//! places.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::AtSign;
use atsign_protocol::Millis;
use atsign_protocol::verb::NotifyLine;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::held;
use crate::atserver::AtServer;
use crate::memory::Taker;
use crate::peers::{PeerError, Purpose};
use crate::store::notifications::{Notification, Outcome, Which};
use crate::store::{Store, StoreError};

/// Deliveries at a time to recipients that answered the last time.
const PLACES: usize = 8;

/// Deliveries at a time to those that did not.
const PLACES_FOR_MISSED: usize = 6;

/// Notifications for one recipient before others get its place.
const IN_A_ROW: usize = 32;

/// The first pause after a failure.
const FIRST_PAUSE: Millis = 200;

/// Connections that nobody uses are looked for so often.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// After the store failed.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// A delivery under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Turn {
    recipient: String,
    missed: bool,
}

/// Delivers for ever.
pub(crate) async fn run<S: Store>(server: Arc<AtServer<S>>) -> Infallible {
    let mut progress = server.store.progress();
    let mut deliveries = JoinSet::new();
    let mut busy = HashSet::new();
    while server.store.settle(Outcome::Started).await.is_err() {
        tokio::time::sleep(AFTER_TROUBLE).await;
    }
    loop {
        let posted = progress.borrow_and_update().posted;
        let wait = match begin(&server, &mut deliveries, &mut busy).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "what is to be sent cannot be read");
                AFTER_TROUBLE
            }
        };
        let news = async {
            // Without a store there is nothing more to send.
            if progress.wait_for(|progress| progress.posted != posted).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            Some(done) = deliveries.join_next() => {
                if let Ok(turn) = done {
                    busy.remove(&turn);
                }
            }
            _ = timeout(wait, news) => {}
        }
        server.peers.tidy();
    }
}

/// Begins what is due and has a place; returns how long nothing else is.
async fn begin<S: Store>(
    server: &Arc<AtServer<S>>,
    deliveries: &mut JoinSet<Turn>,
    busy: &mut HashSet<Turn>,
) -> Result<Duration, StoreError> {
    let now = server.now();
    for (missed, places) in [(false, PLACES), (true, PLACES_FOR_MISSED)] {
        let taken = busy.iter().filter(|turn| turn.missed == missed).count();
        if taken >= places {
            continue;
        }
        // Those under way may be among the first.
        for recipient in server.store.due_recipients(missed, places + busy.len(), now).await? {
            let count = busy.iter().filter(|turn| turn.missed == missed).count();
            if count >= places {
                break;
            }
            if busy.iter().any(|turn| turn.recipient == recipient) {
                continue;
            }
            let turn = Turn { recipient, missed };
            busy.insert(turn.clone());
            deliveries.spawn(deliver(Arc::clone(server), turn));
        }
    }
    let next = server.store.next_due(now).await?;
    let wait = next.map_or(TIDY_EVERY, |due| {
        Duration::from_millis(u64::try_from(due.saturating_sub(now)).unwrap_or(0)).min(TIDY_EVERY)
    });
    Ok(wait.max(Duration::from_millis(10)))
}

/// One recipient's turn.
async fn deliver<S: Store>(server: Arc<AtServer<S>>, turn: Turn) -> Turn {
    if let Err(error) = deliver_in_order(&server, &turn.recipient).await {
        tracing::warn!(%error, recipient = turn.recipient, "what came of a delivery cannot be noted");
        tokio::time::sleep(AFTER_TROUBLE).await;
    }
    turn
}

async fn deliver_in_order<S: Store>(server: &AtServer<S>, recipient: &str) -> Result<(), StoreError> {
    let Ok(at_sign) = AtSign::parse(recipient) else {
        return server.store.settle(Outcome::NoSuchRecipient(recipient.to_owned())).await;
    };
    for _ in 0..IN_A_ROW {
        let now = server.now();
        let which = Which::ToSend { recipient: recipient.to_owned(), now };
        let Some(held) = held::read(server, Taker::Command, which).await? else { return Ok(()) };
        let next = &held.notification;
        let line = command(next, now);
        let own = Some(server.tls.pair());
        let answered = server.peers.request(&at_sign, own, Purpose::Delivery, &line, None).await;
        let outcome = match answered {
            Ok(answered) if answered.line == "data:success" => {
                Outcome::Delivered(next.seq, recipient.to_owned())
            }
            Ok(answered) if is_final(&answered.line) => {
                tracing::warn!(recipient, answer = answered.line, "a notification was refused for good");
                Outcome::Refused(next.seq)
            }
            Err(PeerError::Unknown(_)) => {
                tracing::info!(recipient, "the directory does not know the recipient of a notification");
                Outcome::NoSuchRecipient(recipient.to_owned())
            }
            missed => {
                let reason = missed.map_or_else(|error| error.to_string(), |answered| answered.line);
                tracing::debug!(recipient, reason, "a notification was not delivered yet");
                return later(server, next).await;
            }
        };
        server.store.settle(outcome).await?;
    }
    Ok(())
}

/// Puts a recipient off, longer each time; a notification that was tried as often as it may be gets no further.
async fn later<S: Store>(server: &AtServer<S>, missed: &Notification) -> Result<(), StoreError> {
    let recipient = missed.recipient.clone();
    let pause = server.store.pause(recipient.clone()).await?;
    let pause = longer(pause, server.settings.behaviour.longest_pause);
    let due = server.now().saturating_add(pause);
    server.store.settle(Outcome::Later { seq: missed.seq, recipient, due, pause }).await?;
    let tries = u64::from(missed.details.tries) + 1;
    if server.settings.notification_tries().is_some_and(|most| tries >= most) {
        server.store.settle(Outcome::Refused(missed.seq)).await?;
    }
    Ok(())
}

/// Whether another server will never take this notification, though it may take the next.
fn is_final(answer: &str) -> bool {
    ["AT0003", "AT0005", "AT0009", "AT0016", "AT0022"]
        .iter()
        .any(|code| answer.strip_prefix("error:").is_some_and(|error| error.starts_with(code)))
}

fn command(notification: &Notification, now: Millis) -> String {
    let details = &notification.details;
    NotifyLine {
        id: &notification.id,
        operation: details.operation,
        message_type: details.message_type,
        notifier: &notification.notifier,
        ttln: notification.expires_at.saturating_sub(now).max(1),
        metadata: &details.metadata,
        key: &notification.key,
        value: notification.value.as_deref(),
    }
    .command()
}

/// The pause after one of `pause`, 0 for none: 1.6 times as long.
fn longer(pause: Millis, longest: Millis) -> Millis {
    if pause == 0 { FIRST_PAUSE } else { (pause * 8 / 5).min(longest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_fifth_of_a_second_to_ten_seconds() {
        let mut pauses = vec![longer(0, 10_000)];
        while pauses.len() < 11 {
            pauses.extend(pauses.last().copied().map(|pause| longer(pause, 10_000)));
        }
        assert_eq!(pauses, [200, 320, 512, 819, 1310, 2096, 3353, 5364, 8582, 10_000, 10_000]);
    }

    #[test]
    fn only_what_cannot_get_better_is_final() {
        assert!(is_final("error:AT0016-Exception: key length 300"));
        for answer in ["error:AT0013-Exception: blocked", "error:AT0401-x", "error:AT0024-x", "data:null", ""]
        {
            assert!(!is_final(answer), "{answer}");
        }
    }
}
