//! Notifications as clients read them.

use atsign_protocol::answer::MetadataAnswer;
use atsign_protocol::{AtSign, Metadata, Millis, time};
use serde::Serialize;
use serde_json::{Value, json};

use crate::store::notifications::{Kind, Notification, Status};

/// A notification in a list, and on a monitor.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry<'a> {
    id: &'a str,
    from: &'a str,
    to: &'a str,
    key: &'a str,
    value: Option<&'a str>,
    operation: &'static str,
    epoch_millis: Millis,
    message_type: String,
    is_encrypted: bool,
    metadata: Shown<'a>,
}

/// What of the metadata is shown, null where it is not set. Live and missed notifications show the same: in the
/// reference server the missed ones lack the key that their value is encrypted with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    enc_key_name: Option<&'a str>,
    enc_algo: Option<&'a str>,
    iv_nonce: Option<&'a str>,
    ske_enc_key_name: Option<&'a str>,
    ske_enc_algo: Option<&'a str>,
    shared_key_enc: Option<&'a str>,
    available_at: Option<String>,
    expires_at: Option<String>,
}

impl<'a> Entry<'a> {
    pub(crate) fn of(notification: &'a Notification) -> Self {
        let details = &notification.details;
        Self {
            id: &notification.id,
            from: &notification.sender,
            to: &notification.recipient,
            key: &notification.key,
            value: notification.value.as_deref(),
            operation: details.operation.as_str(),
            epoch_millis: notification.at,
            message_type: format!("MessageType.{}", details.message_type.as_str()),
            is_encrypted: details.metadata.is_encrypted.unwrap_or(false),
            metadata: Shown::of(&details.metadata),
        }
    }

    /// As a list has it: there dates are texts also where there is none.
    pub(crate) fn of_list(notification: &'a Notification) -> Self {
        let mut entry = Self::of(notification);
        for date in [&mut entry.metadata.available_at, &mut entry.metadata.expires_at] {
            date.get_or_insert_with(|| "null".to_owned());
        }
        entry
    }

    /// The JSON text.
    pub(crate) fn to_json(&self) -> String {
        // Texts and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl<'a> Shown<'a> {
    fn of(metadata: &'a Metadata) -> Self {
        Self {
            enc_key_name: metadata.enc_key_name.as_deref(),
            enc_algo: metadata.enc_algo.as_deref(),
            iv_nonce: metadata.iv_nonce.as_deref(),
            ske_enc_key_name: metadata.ske_enc_key_name.as_deref(),
            ske_enc_algo: metadata.ske_enc_algo.as_deref(),
            shared_key_enc: metadata.shared_key_enc.as_deref(),
            available_at: metadata.available_at.map(time::print),
            expires_at: metadata.expires_at.map(time::print),
        }
    }
}

/// How far a notification has come, as it is told.
pub(crate) fn status(notification: &Notification, now: Millis) -> &'static str {
    match notification.status {
        _ if notification.expires_at <= now => "expired",
        Status::Queued => "queued",
        Status::Delivered => "delivered",
        Status::Errored => "errored",
        Status::Expired => "expired",
    }
}

/// All that is known of a notification, every value a text.
pub(crate) fn stringified(notification: &Notification, now: Millis) -> String {
    let details = &notification.details;
    let kind = match notification.kind {
        Kind::Received => "received",
        Kind::Sent => "sent",
        Kind::Own => "self",
    };
    let attempts = details.tries + u32::from(notification.status == Status::Delivered);
    let text = |text: Option<&str>| text.map_or(Value::from("null"), Value::from);
    json!({
        "id": notification.id,
        "fromAtSign": notification.sender,
        "notificationDateTime": time::print(notification.at),
        "toAtSign": notification.recipient,
        "notification": notification.key,
        "type": format!("NotificationType.{kind}"),
        "opType": format!("OperationType.{}", details.operation.as_str()),
        "messageType": format!("MessageType.{}", details.message_type.as_str()),
        "priority": format!("NotificationPriority.{}", details.priority.as_str()),
        "notificationStatus": format!("NotificationStatus.{}", status(notification, now)),
        "retryCount": attempts.to_string(),
        "strategy": details.strategy.as_str(),
        "notifier": notification.notifier,
        "depth": details.depth.to_string(),
        "atValue": text(notification.value.as_deref()),
        "atMetadata": MetadataAnswer(&details.metadata).to_json(),
        "ttl": details.ttln.to_string(),
        "expiresAt": time::print(notification.expires_at),
    })
    .to_string()
}

/// What every monitor is told after a change and from time to time: the last commit id.
pub(crate) fn statistics(own: &AtSign, commit: i64, deleted: bool, now: Millis) -> String {
    let operation = if deleted { "delete" } else { "update" };
    format!(
        r#"{{"id":"-1","from":"{own}","to":"{own}","key":"statsNotification.{own}","value":"{commit}","operation":"{operation}","epochMillis":{now},"messageType":"MessageType.key","isEncrypted":false,"metadata":null}}"#
    )
}
