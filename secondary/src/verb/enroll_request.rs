//! `enroll:request` (reference page section 2.21): who may ask, how often, and what becomes of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::access::{EVERY, MANAGE};
use atsign_protocol::enrollment::Approval;
use atsign_protocol::verb::{EnrollRequest, Setting};
use atsign_protocol::{
    Access, AtError, Enrollment, EnrollmentState, ErrorCode, MetadataChange, Namespaces, Permission, key,
};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::enroll::{life, publish};
use super::otp;
use crate::atserver::AtServer;
use crate::enrollments;
use crate::notifications;
use crate::session::{Answer, Client};
use crate::store::Store;
use crate::store::notifications::Posting;

/// Requests that wait for their approval at a time: a passcode that many know must not fill the store.
const PENDING: usize = 100;

const TOO_MANY: &str = "Enrollment requests have exceeded the limit within the specified time frame";

/// When a connection requested an enrollment, as far back as it matters.
#[derive(Default)]
pub(crate) struct Requests(VecDeque<Instant>);

impl Requests {
    /// Counts one; false where it is one too many. `most` is small: so many are remembered.
    fn count(&mut self, most: usize, frame: Duration, now: Instant) -> bool {
        while self.0.front().is_some_and(|first| now.saturating_duration_since(*first) >= frame) {
            self.0.pop_front();
        }
        if self.0.len() >= most {
            return false;
        }
        self.0.push_back(now);
        true
    }
}

pub(super) async fn request<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    request: EnrollRequest,
) -> Result<Answer, AtError> {
    let most = usize::try_from(server.settings.get(Setting::MaxRequestsPerTimeFrame)).unwrap_or(usize::MAX);
    let frame = Duration::from_millis(server.settings.get(Setting::TimeFrameInMillis));
    if !client.requests.count(most, frame, Instant::now()) {
        return Err(AtError::enrollment(TOO_MANY));
    }
    let keys = request.keys.clone();
    let passcode = request.otp.clone().unwrap_or_default();
    // Before the passcode is used up.
    let mut enrollment = requested(client, request)?;
    let turn = server.enrolling.lock().await;
    if !client.is_owner() && !otp::redeem(server, &passcode).await? {
        // Others go on while this one waits.
        drop(turn);
        tracing::warn!("an enrollment was requested with a wrong passcode");
        let error = AtError::enrollment("invalid otp. Cannot process enroll request");
        let waited = server.guesses.wrong(server.settings.behaviour.longest_delay).await;
        return Err(if waited { error } else { error.and_close() });
    }
    check_others(server, &enrollment).await?;
    let id = Uuid::new_v4().to_string();
    if client.by_cram {
        enrollment.namespaces.0.insert(MANAGE.to_owned(), Permission::ReadWrite);
        enrollment.namespaces.0.insert(EVERY.to_owned(), Permission::ReadWrite);
        enrollment.approval.state = EnrollmentState::Approved;
        publish(server, &id, &enrollment, &keys).await?;
        let public_key = enrollment.apkam_public_key.clone();
        enrollments::put(server, key::PKAM_PUBLIC_KEY.to_owned(), public_key, MetadataChange::default())
            .await?;
        enrollments::store(server, &id, &enrollment, life(&enrollment, server.now())).await?;
        client.access =
            Some(Arc::new(Access { enrollment_id: id.clone(), namespaces: enrollment.namespaces.clone() }));
    } else {
        // It and what tells of it are there together, or not at all.
        let now = server.now();
        let ends = now.saturating_add(server.settings.behaviour.enrollment_ttl);
        let change = enrollments::change(server, &id, &enrollment, Some(ends))?;
        let notification = notifications::of_enrollment(&server.at_sign, &id, &enrollment, now);
        let posting = Posting { notification, change: Some(change), tells_of_change: false, rationed: false };
        server.store.post(posting, now).await?;
    }
    tracing::info!(enrollment = id, state = enrollment.approval.state.name(), "an enrollment was requested");
    let status = enrollment.approval.state.name();
    Ok(Answer::Text(json!({"enrollmentId": id, "status": status}).to_string()))
}

/// The enrollment that a request asks for.
fn requested(client: &Client, request: EnrollRequest) -> Result<Enrollment, AtError> {
    let given = |text: Option<String>, name| {
        text.filter(|text| !text.is_empty()).ok_or_else(|| {
            AtError::new(ErrorCode::IllegalArgument, format!("{name} is mandatory for enroll:request"))
        })
    };
    let namespaces = request.namespaces.unwrap_or_default();
    if namespaces == Namespaces::default() && !client.by_cram {
        let text = "At least one namespace must be specified for new client enroll:request";
        return Err(AtError::new(ErrorCode::IllegalArgument, text));
    }
    let symmetric_key = request.encrypted_apkam_symmetric_key;
    Ok(Enrollment {
        session_id: client.session_id.clone(),
        app_name: given(request.app_name, "appName")?,
        device_name: given(request.device_name, "deviceName")?,
        namespaces,
        apkam_public_key: given(request.apkam_public_key, "apkamPublicKey")?,
        signing_algo: request.signing_algo,
        request_type: "newEnrollment".to_owned(),
        approval: Approval { state: EnrollmentState::Pending },
        encrypted_apkam_symmetric_key: if client.is_owner() {
            symmetric_key
        } else {
            Some(given(symmetric_key, "encryptedAPKAMSymmetricKey")?)
        },
        apkam_keys_expiry_in_millis: request.apkam_keys_expiry_in_millis,
        signing_key: request.signing_key,
        metadata: request.metadata,
    })
}

/// An application on a device has one enrollment, and only so many wait.
async fn check_others<S: Store>(server: &AtServer<S>, new: &Enrollment) -> Result<(), AtError> {
    let (mut after, mut pending) = (None, 0);
    loop {
        let (page, next) = enrollments::page(server, after).await?;
        for (id, other) in page {
            let state = other.approval.state;
            let counts = matches!(state, EnrollmentState::Pending | EnrollmentState::Approved);
            if counts && other.app_name == new.app_name && other.device_name == new.device_name {
                return Err(AtError::enrollment(format!(
                    "Another enrollment with id {id} exists with the app name: {} and device name: {} in {} state",
                    new.app_name,
                    new.device_name,
                    state.name()
                )));
            }
            pending += usize::from(state == EnrollmentState::Pending);
        }
        if pending >= PENDING {
            return Err(AtError::enrollment(TOO_MANY));
        }
        if next.is_none() {
            return Ok(());
        }
        after = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_so_many_requests_in_a_time_frame() {
        let (mut requests, frame) = (Requests::default(), Duration::from_secs(10));
        let start = Instant::now();
        for second in 0..3 {
            assert!(requests.count(3, frame, start + Duration::from_secs(second)));
        }
        assert!(!requests.count(3, frame, start + Duration::from_secs(9)));
        assert!(requests.count(3, frame, start + Duration::from_secs(10)));
        assert!(!requests.count(3, frame, start + Duration::from_secs(10)));
    }
}
