//! `pkam`: proves to hold the private key of the owner (reference page section 2.3).

use crate::atserver::AtServer;
use crate::enrollments;
use crate::session::{Answer, Client, Identity};
use crate::signatures::{Scheme, proves};
use crate::store::Store;
use atsign_protocol::verb::Pkam;
use atsign_protocol::{AtError, ErrorCode, key};

pub(super) async fn pkam<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    pkam: &Pkam,
) -> Result<Answer, AtError> {
    client.forget();
    let challenge = redeem(server, client);
    // Where an enrollment stands is said before anything about the challenge.
    let mut scheme = Scheme { signing: pkam.signing, hashing: pkam.hashing };
    let (public_key, access) = match &pkam.enrollment_id {
        Some(id) => {
            let (enrollment, access) = enrollments::access(server, &id.to_lowercase()).await?;
            // What it was enrolled with counts more than what a client says.
            scheme.signing = enrollment.signing_algo.unwrap_or(pkam.signing);
            (Some(enrollment.apkam_public_key), Some(access))
        }
        None => (server.store.get(key::PKAM_PUBLIC_KEY).await?.and_then(|record| record.value), None),
    };
    let challenge = challenge?;
    let public_key = public_key.ok_or_else(|| AtError::key_not_found(key::PKAM_PUBLIC_KEY))?;
    if !proves(scheme, &public_key, &challenge, &pkam.signature) {
        tracing::warn!("a client failed to authenticate by PKAM");
        return Err(AtError::new(ErrorCode::Unauthenticated, "pkam authentication failed"));
    }
    client.identity = Identity::Owner;
    client.access = access;
    tracing::info!("the owner authenticated by PKAM");
    Ok(Answer::text("success"))
}

/// The challenge of this connection: taken away, so that it serves once.
pub(super) fn redeem<S>(server: &AtServer<S>, client: &mut Client) -> Result<String, AtError> {
    let challenge = client.challenge.take().and_then(crate::session::Challenge::redeem);
    challenge
        .ok_or_else(|| AtError::key_not_found(&format!("private:{}{}", client.session_id, server.at_sign)))
}
