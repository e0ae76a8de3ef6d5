//! `enroll` (reference page section 2.21) but for the request: decisions, and what is told of enrollments.

use std::io;
use std::time::Duration;

use atsign_protocol::enrollment::{
    encryption_key_name, revoked_signing_key_name, self_key_name, signing_key_name, stored_name,
};
use atsign_protocol::verb::{DefaultKeys, Enroll, EnrollDecision};
use atsign_protocol::{
    AtError, AtKey, AtSign, Decision, Enrollment, EnrollmentState, ErrorCode, MetadataChange, Millis,
};
use serde_json::{Value, json};
use tokio::io::AsyncWrite;

use super::{enroll_request, enroll_update};
use crate::atserver::AtServer;
use crate::enrollments::{self, Stored};
use crate::session::{Answer, Client, Writer};
use crate::store::{Change, Store};

/// How long a client stays that revoked its own enrollment.
const FAREWELL: Duration = Duration::from_secs(10);

/// How something that belongs to an enrollment is named.
type KeyName = fn(&str, &AtSign) -> String;

pub(super) async fn enroll<S, T>(
    server: &AtServer<S>,
    client: &mut Client,
    enroll: Enroll,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    Ok(match enroll {
        Enroll::Request(request) => enroll_request::request(server, client, *request).await,
        Enroll::Decide(decision, decided) => decide(server, client, decision, &decided).await,
        Enroll::Fetch(id) => fetch(server, client, &id).await,
        Enroll::Update(update) => enroll_update::update(server, client, *update).await,
        Enroll::ListNamespaces(None) => Ok(Answer::Text(match &client.access {
            Some(access) => json!(access.namespaces).to_string(),
            None => json!({"*": "rw", "__manage": "rw"}).to_string(),
        })),
        Enroll::ListNamespaces(Some(namespace)) => {
            return list_members(server, client, &namespace, writer).await;
        }
        Enroll::List(states) => return list(server, client, &states, writer).await,
    })
}

async fn decide<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    decision: Decision,
    decided: &EnrollDecision,
) -> Result<Answer, AtError> {
    let id = decided.enrollment_id.to_lowercase();
    // One at a time: each begins with the state that the one before it left.
    let _turn = server.enrolling.lock().await;
    let Stored { mut enrollment, ends } = enrollments::find(server, &id).await?;
    let is_own = client.access.as_ref().is_some_and(|access| access.enrollment_id == id);
    if !(is_own && decision == Decision::Revoke) {
        check_authority(client, decision, &id, &enrollment)?;
    } else if !decided.force {
        let text = "Current client cannot revoke its own enrollment";
        return Err(AtError::new(ErrorCode::RevokeOwnEnrollment, text));
    }
    let Some(state) = enrollment.approval.state.after(decision, &id)? else {
        forget(server, &id).await?;
        return Ok(Answer::Text(json!({"enrollmentId": id, "status": "deleted"}).to_string()));
    };
    enrollment.approval.state = state;
    let mut ends = ends;
    if decision == Decision::Revoke {
        // Before the record, so that nobody trusts its signatures any more whenever this ends.
        move_signing_key(server, &id, &enrollment, signing_key_name, revoked_signing_key_name).await?;
    }
    if decision == Decision::Approve {
        publish(server, &id, &enrollment, &decided.keys).await?;
        ends = life(&enrollment, server.now());
    }
    enrollments::store(server, &id, &enrollment, ends).await?;
    if decision == Decision::Unrevoke {
        move_signing_key(server, &id, &enrollment, revoked_signing_key_name, signing_key_name).await?;
    }
    tracing::info!(enrollment = id, state = state.name(), "an enrollment was decided");
    let mut answer = json!({"enrollmentId": id, "status": state.name()});
    if decision == Decision::Revoke {
        server.connections.end_enrollment(&id, if is_own { FAREWELL } else { Duration::ZERO });
        if is_own {
            answer["message"] = "Enrollment is revoked. Closing the connection in 10 seconds".into();
        }
    }
    Ok(Answer::Text(answer.to_string()))
}

/// Whoever decides holds `__manage`, and gives no more than he has.
fn check_authority(
    client: &Client,
    decision: Decision,
    id: &str,
    enrollment: &Enrollment,
) -> Result<(), AtError> {
    let Some(access) = &client.access else { return Ok(()) };
    let verb = match decision {
        Decision::Approve => "approve",
        Decision::Deny => "deny",
        Decision::Revoke => "revoke",
        Decision::Unrevoke => "unrevoke",
        Decision::Delete => "delete",
    };
    if !access.namespaces.manage() {
        return Err(AtError::enrollment(format!(
            "Failed to {verb} enrollment id: {id}. The approving client does not have access to \"__manage\" namespace"
        )));
    }
    if !access.namespaces.cover(&enrollment.namespaces) {
        return Err(AtError::enrollment(format!(
            "Failed to {verb} enrollment id: {id}. Client is not authorized for namespaces in the enrollment request"
        )));
    }
    Ok(())
}

/// When an enrollment that is approved now ends by itself.
pub(super) fn life(enrollment: &Enrollment, now: Millis) -> Option<Millis> {
    enrollment
        .apkam_keys_expiry_in_millis
        .filter(|millis| *millis > 0)
        .map(|millis| now.saturating_add(millis))
}

/// Stores what an approval leaves beside the enrollment: before it, so that no client finds it approved without.
pub(super) async fn publish<S: Store>(
    server: &AtServer<S>,
    id: &str,
    enrollment: &Enrollment,
    keys: &DefaultKeys,
) -> Result<(), AtError> {
    let at_sign = &server.at_sign;
    let defaults = [
        (
            encryption_key_name(id, at_sign),
            &keys.encrypted_default_encryption_private_key,
            &keys.enc_private_key_iv,
        ),
        (self_key_name(id, at_sign), &keys.encrypted_default_self_encryption_key, &keys.self_enc_key_iv),
    ];
    for (name, value, iv) in defaults {
        let Some(value) = value else { continue };
        let mut stored = json!({ "value": value });
        if let Some(iv) = iv {
            stored["iv"] = iv.as_str().into();
        }
        enrollments::put(server, name, stored.to_string(), MetadataChange::default()).await?;
    }
    publish_signing_key(server, id, enrollment).await?;
    publish_public_key(server, enrollment).await
}

/// Publishes the key with which the clients of an enrollment prove themselves.
pub(super) async fn publish_public_key<S: Store>(
    server: &AtServer<S>,
    enrollment: &Enrollment,
) -> Result<(), AtError> {
    let at_sign = &server.at_sign;
    let entity = format!("{}.{}.pkam.__pkams.__public_keys", enrollment.app_name, enrollment.device_name);
    // Applications may have names that no key can have.
    if let Ok(key) = AtKey::public(&entity, at_sign.clone())
        && key.check_storable().is_ok()
    {
        let stored = json!({ "apkamPublicKey": enrollment.apkam_public_key }).to_string();
        enrollments::put(server, key.to_string(), stored, MetadataChange::default()).await?;
    }
    Ok(())
}

/// Publishes the signing key of an enrollment, where it brought one: whoever verifies what it signs asks the server.
pub(super) async fn publish_signing_key<S: Store>(
    server: &AtServer<S>,
    id: &str,
    enrollment: &Enrollment,
) -> Result<(), AtError> {
    let Some(text) = enrollment.signing_key.text() else { return Ok(()) };
    let name = signing_key_name(id, &server.at_sign);
    enrollments::put(server, name, text, MetadataChange::default()).await
}

/// Moves it to another name: it verifies nothing while its enrollment is revoked.
async fn move_signing_key<S: Store>(
    server: &AtServer<S>,
    id: &str,
    enrollment: &Enrollment,
    from: KeyName,
    to: KeyName,
) -> Result<(), AtError> {
    let Some(text) = enrollment.signing_key.text() else { return Ok(()) };
    enrollments::put(server, to(id, &server.at_sign), text, MetadataChange::default()).await?;
    let key = from(id, &server.at_sign);
    server.store.commit(Change::Delete { key, committed: false }, server.now()).await?;
    Ok(())
}

async fn forget<S: Store>(server: &AtServer<S>, id: &str) -> Result<(), AtError> {
    let at_sign = &server.at_sign;
    let names: [KeyName; 5] =
        [encryption_key_name, self_key_name, signing_key_name, revoked_signing_key_name, stored_name];
    for name in names {
        let key = name(id, at_sign);
        server.store.commit(Change::Delete { key, committed: false }, server.now()).await?;
    }
    Ok(())
}

/// Whether a client finds an enrollment in a list: its own, and all of them by `__manage`.
fn may_list(client: &Client, id: &str) -> bool {
    client.access.as_ref().is_none_or(|access| access.enrollment_id == id || access.namespaces.manage())
}

async fn fetch<S: Store>(server: &AtServer<S>, client: &Client, id: &str) -> Result<Answer, AtError> {
    let id = id.to_lowercase();
    let Stored { enrollment, .. } = enrollments::find(server, &id).await?;
    // Its symmetric key is told too, so this needs what a decision about it needs.
    let may_see = client.access.as_ref().is_none_or(|access| {
        let namespaces = &access.namespaces;
        access.enrollment_id == id || (namespaces.manage() && namespaces.cover(&enrollment.namespaces))
    });
    if !may_see {
        return Err(AtError::new(
            ErrorCode::Unauthorized,
            "Client is not authorized to fetch this enrollment",
        ));
    }
    Ok(Answer::Text(told(&enrollment).to_string()))
}

fn told(enrollment: &Enrollment) -> Value {
    let mut told = json!({
        "appName": enrollment.app_name,
        "deviceName": enrollment.device_name,
        "namespace": enrollment.namespaces,
        "encryptedAPKAMSymmetricKey": enrollment.encrypted_apkam_symmetric_key,
        "status": enrollment.approval.state.name(),
    });
    if let Some(metadata) = &enrollment.metadata {
        told["metadata"] = Value::Object(metadata.clone());
    }
    told
}

async fn list<S, T>(
    server: &AtServer<S>,
    client: &Client,
    states: &[String],
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let wanted = |state: EnrollmentState| {
        states.is_empty() || states.iter().any(|wanted| wanted.eq_ignore_ascii_case(state.name()))
    };
    writer.push(b"data:{").await?;
    let (mut after, mut first) = (None, true);
    loop {
        let (page, next) = match enrollments::page(server, after).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        for (id, enrollment) in page {
            if !wanted(enrollment.approval.state) || !may_list(client, &id) {
                continue;
            }
            let separator = if std::mem::take(&mut first) { "" } else { "," };
            let name = Value::from(stored_name(&id, &server.at_sign));
            writer.push(format!("{separator}{name}:{}", told(&enrollment)).as_bytes()).await?;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    writer.push(b"}").await?;
    Ok(Ok(Answer::Written))
}

/// The enrollments that may read a namespace, to clients of one that may.
async fn list_members<S, T>(
    server: &AtServer<S>,
    client: &Client,
    namespace: &str,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    if client.access.as_ref().is_some_and(|access| access.namespaces.permission(namespace).is_none()) {
        let text = format!("Caller enrollment is not authorised for namespace \"{namespace}\"");
        return Ok(Err(AtError::new(ErrorCode::Unauthorized, text)));
    }
    writer.push(b"data:[").await?;
    let (mut after, mut first) = (None, true);
    loop {
        let (page, next) = match enrollments::page(server, after).await {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        for (id, enrollment) in page {
            let Some(access) = enrollment.namespaces.permission(namespace) else { continue };
            if enrollment.approval.state != EnrollmentState::Approved {
                continue;
            }
            let member = json!({
                "enrollmentId": id,
                "access": access,
                "apkamPubKey": enrollment.apkam_public_key,
                "metadata": enrollment.metadata,
            });
            let separator = if std::mem::take(&mut first) { "" } else { "," };
            writer.push(format!("{separator}{member}").as_bytes()).await?;
        }
        if next.is_none() {
            break;
        }
        after = next;
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}
