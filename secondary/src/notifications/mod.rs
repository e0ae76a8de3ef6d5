//! Notifications: how they are told, delivered and shown (reference page sections 2.12 to 2.14).

pub(crate) mod held;
mod json;
pub(crate) mod monitor;
pub(crate) mod sender;

use atsign_protocol::enrollment::STORED;
use atsign_protocol::verb::{NotifyOperation, Setting};
use atsign_protocol::{AtKey, AtSign, Enrollment, Millis, Visibility};
use serde_json::json;
use uuid::Uuid;

use crate::settings::Settings;
use crate::store::notifications::{Details, Kind, Notification, Status};

pub(crate) use json::{Entry, statistics, status, stringified};

/// Who tells what the server tells of itself.
pub(crate) const SYSTEM: &str = "SYSTEM";

/// How long the deletion of a key is.
const DELETION_TTLN: Millis = 15 * 60 * 1000;

/// How long what the server tells its own atSign is.
const OWN_TTLN: Millis = 24 * 60 * 60 * 1000;

/// How long at most, whatever its sender says.
pub(crate) const LONGEST_TTLN: Millis = 30 * 24 * 60 * 60 * 1000;

/// What the server tells the atSign that a key is shared with, when the key changes. `None` for keys of nobody else,
/// and where the server was told not to.
pub(crate) fn of_change(
    own: &AtSign,
    key: &AtKey,
    operation: NotifyOperation,
    settings: &Settings,
    now: Millis,
) -> Option<Notification> {
    if settings.get(Setting::AutoNotify) == 0 {
        return None;
    }
    let Visibility::SharedWith(recipient) = &key.visibility else { return None };
    if key.cached || recipient == own || key.owner != *own {
        return None;
    }
    let ttln = if operation == NotifyOperation::Delete {
        DELETION_TTLN
    } else {
        settings.behaviour.notification_ttln
    };
    let details = Details { operation, ..Details::default() };
    Some(Notification {
        kind: Kind::Sent,
        recipient: recipient.to_string(),
        status: Status::Queued,
        ..by_server(own, key.to_string(), details, ttln, now)
    })
}

/// What the server tells all clients of its own atSign.
pub(crate) fn to_oneself(own: &AtSign, key: String, value: String, now: Millis) -> Notification {
    Notification { value: Some(value), ..by_server(own, key, Details::default(), OWN_TTLN, now) }
}

/// The request of an enrollment, for those who may decide about it.
pub(crate) fn of_enrollment(own: &AtSign, id: &str, enrollment: &Enrollment, now: Millis) -> Notification {
    let symmetric_key = &enrollment.encrypted_apkam_symmetric_key;
    let value = json!({
        "appName": enrollment.app_name,
        "deviceName": enrollment.device_name,
        "namespace": enrollment.namespaces,
        // SDKs read one or the other.
        "encryptedApkamSymmetricKey": symmetric_key,
        "encryptedAPKAMSymmetricKey": symmetric_key,
    });
    let told = to_oneself(own, format!("{id}{STORED}"), value.to_string(), now);
    Notification { kind: Kind::Own, ..told }
}

/// A notification of the server to its own atSign.
fn by_server(own: &AtSign, key: String, details: Details, ttln: Millis, now: Millis) -> Notification {
    Notification {
        seq: 0,
        id: Uuid::new_v4().to_string(),
        kind: Kind::Received,
        sender: own.to_string(),
        recipient: own.to_string(),
        at: now,
        expires_at: now.saturating_add(ttln),
        status: Status::Delivered,
        notifier: SYSTEM.to_owned(),
        key,
        details: Details { depth: 1, ttln, ..details },
        value: None,
    }
}
