//! Notifications: how they are told, delivered and shown (reference page sections 2.12 to 2.14).

mod json;
pub(crate) mod monitor;
pub(crate) mod sender;

use atsign_protocol::verb::{MessageType, NotifyOperation, Strategy};
use atsign_protocol::{AtKey, AtSign, Millis, Visibility};
use uuid::Uuid;

use crate::store::notifications::{Details, Kind, Notification, Status};

pub(crate) use json::{Entry, statistics, status, stringified};

/// Who tells what the server tells of itself.
pub(crate) const SYSTEM: &str = "SYSTEM";

/// How long a notification is worth delivering where nobody said so.
pub(crate) const DEFAULT_TTLN: Millis = 24 * 60 * 60 * 1000;

/// How long the deletion of a key is.
const DELETION_TTLN: Millis = 15 * 60 * 1000;

/// How long at most, whatever its sender says.
pub(crate) const LONGEST_TTLN: Millis = 30 * 24 * 60 * 60 * 1000;

/// What the server tells the atSign that a key is shared with, when the key changes. `None` for keys of nobody else.
pub(crate) fn of_change(
    own: &AtSign,
    key: &AtKey,
    operation: NotifyOperation,
    now: Millis,
) -> Option<Notification> {
    let Visibility::SharedWith(recipient) = &key.visibility else { return None };
    if key.cached || recipient == own || key.owner != *own {
        return None;
    }
    let ttln = if operation == NotifyOperation::Delete { DELETION_TTLN } else { DEFAULT_TTLN };
    Some(Notification {
        seq: 0,
        id: Uuid::new_v4().to_string(),
        kind: Kind::Sent,
        sender: own.to_string(),
        recipient: recipient.to_string(),
        at: now,
        expires_at: now.saturating_add(ttln),
        status: Status::Queued,
        notifier: SYSTEM.to_owned(),
        key: key.to_string(),
        details: Details {
            operation,
            message_type: MessageType::Key,
            strategy: Strategy::All,
            depth: 1,
            ttln,
            ..Details::default()
        },
        value: None,
    })
}
