//! `pol`: another server proves whose it is (reference page sections 2.4 and 3.8).

use atsign_protocol::{AtError, AtSign, ErrorCode};

use super::config;
use crate::atserver::AtServer;
use crate::peers::{PeerError, Purpose};
use crate::session::{Answer, Client, Identity};
use crate::signatures::{Scheme, proves};
use crate::store::Store;

pub(super) async fn pol<S: Store>(server: &AtServer<S>, client: &mut Client) -> Result<Answer, AtError> {
    client.forget();
    let Some((claimed, challenge)) = client.claim.take() else {
        let text = "You must execute a 'from:' command before you may run the pol command";
        return Err(AtError::new(ErrorCode::InternalServerException, text).and_close());
    };
    let proof = challenge.redeem().ok_or_else(|| unproven(&claimed, "the proof is too old"))?;
    // Asked of the server that the directory names: only that one can show what its signing key signed.
    let signature = fetch(server, &claimed, &client.session_id).await?;
    let public_key = fetch(server, &claimed, "signing_publickey").await?;
    if !proves(Scheme::default(), &public_key, &proof, &signature) {
        tracing::warn!(%claimed, "another server failed to prove whose it is");
        return Err(AtError::new(ErrorCode::Unauthenticated, "Pol Authentication Failed"));
    }
    // Since `from`, the owner may have blocked it.
    if config::is_blocked(server, &claimed).await? {
        return Err(AtError::new(ErrorCode::BlockedConnection, "Unable to connect"));
    }
    client.identity = Identity::Peer(claimed);
    Ok(Answer::Prompt)
}

async fn fetch<S>(server: &AtServer<S>, claimed: &AtSign, name: &str) -> Result<String, AtError> {
    let command = format!("lookup:{name}{claimed}");
    let answered = server.peers.request(claimed, None, Purpose::Verification, &command, None).await;
    let line = answered.map_err(|error: PeerError| unproven(claimed, &error.to_string()))?.line;
    match line.strip_prefix("data:") {
        Some(value) if value != "null" => Ok(value.to_owned()),
        _ => Err(unproven(claimed, &format!("{name} cannot be looked up there"))),
    }
}

/// What was to be checked could not be had.
fn unproven(claimed: &AtSign, why: &str) -> AtError {
    tracing::warn!(%claimed, why, "cannot check whose server this is");
    AtError::new(ErrorCode::InternalServerException, format!("Pol Authentication Failed: {why}")).and_close()
}
