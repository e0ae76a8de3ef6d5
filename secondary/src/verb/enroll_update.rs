//! `enroll:update`: an enrollment changes its own record (reference page appendix A, 3.16).

use atsign_protocol::enrollment::PublishedKey;
use atsign_protocol::verb::EnrollUpdate;
use atsign_protocol::{AtError, ErrorCode};
use serde_json::json;

use super::enroll::{publish_public_key, publish_signing_key};
use crate::atserver::AtServer;
use crate::enrollments::{self, Stored};
use crate::session::{Answer, Client};
use crate::signatures::{Scheme, proves};
use crate::store::Store;

pub(super) async fn update<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    update: EnrollUpdate,
) -> Result<Answer, AtError> {
    let id = update.enrollment_id.to_lowercase();
    if client.access.as_ref().is_none_or(|access| access.enrollment_id != id) {
        return Err(AtError::enrollment(
            "enroll:update is self-only: an enrollment is updated by its own clients",
        ));
    }
    let _turn = server.enrolling.lock().await;
    let Stored { mut enrollment, ends } = enrollments::find(server, &id).await?;
    if let Some(refusal) = enrollment.approval.state.refusal(&id) {
        return Err(refusal);
    }
    let signing_algo = update.signing_algo.or(enrollment.signing_algo);
    let changes_key = update.apkam_public_key.is_some();
    if let Some(key) = update.apkam_public_key {
        if key.is_empty() {
            return Err(AtError::new(ErrorCode::IllegalArgument, "apkamPublicKey is empty"));
        }
        // The connection shows who has the key before; nothing else shows who has the new one.
        let Some(signature) = &update.apkam_public_key_signature else {
            return Err(AtError::enrollment(
                "enroll:update of apkamPublicKey requires apkamPublicKeySignature, by the new key",
            ));
        };
        let name = signing_algo.map_or("null", |algorithm| algorithm.name());
        let scheme = Scheme { signing: signing_algo.unwrap_or_default(), ..Scheme::default() };
        // By the id as the client wrote it.
        let text = format!("{}|{key}|{name}", update.enrollment_id);
        if !proves(scheme, &key, &text, signature) {
            return Err(AtError::enrollment(
                "apkamPublicKeySignature does not verify against the apkamPublicKey being installed",
            ));
        }
        (enrollment.apkam_public_key, enrollment.signing_algo) = (key, signing_algo);
    }
    let changes_signing_key = update.signing_key != PublishedKey::default();
    if changes_signing_key {
        enrollment.signing_key = update.signing_key;
    }
    if let Some(changed) = update.metadata {
        enrollment.metadata.get_or_insert_default().extend(changed);
    }
    // First the record, which alone decides who may log in.
    enrollments::store(server, &id, &enrollment, ends).await?;
    if changes_key {
        publish_public_key(server, &enrollment).await?;
    }
    if changes_signing_key {
        publish_signing_key(server, &id, &enrollment).await?;
    }
    Ok(Answer::Text(json!({"enrollmentId": id, "status": enrollment.approval.state.name()}).to_string()))
}
