//! `from`: the client says who it is and gets a challenge (reference page section 2.1).

use atsign_protocol::verb::From;
use atsign_protocol::{AtError, ErrorCode};
use uuid::Uuid;

use super::config;
use crate::atserver::AtServer;
use crate::session::{Answer, Challenge, Client};
use crate::store::Store;

pub(super) async fn from<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    from: &From,
) -> Result<Answer, AtError> {
    if from.at_sign != server.at_sign && config::is_blocked(server, &from.at_sign).await? {
        return Err(AtError::new(ErrorCode::BlockedConnection, "Unable to connect"));
    }
    if let Some(config) = &from.client {
        client.json_errors = config.reads_json_errors();
    }
    client.challenge = None;
    client.claim = None;
    let proof = Uuid::new_v4().to_string();
    let challenge = format!("{}{}:{proof}", client.session_id, from.at_sign);
    if from.at_sign == server.at_sign {
        client.challenge = Some(Challenge::new(challenge.clone()));
        return Ok(Answer::text(challenge));
    }
    match server.peers.certifies(&client.certificates, &from.at_sign).await {
        Ok(true) => {}
        refused => {
            if let Err(error) = refused {
                tracing::warn!(claimed = %from.at_sign, %error, "cannot check the certificate of a client");
            }
            return Err(AtError::new(ErrorCode::Unauthenticated, "Certificate Verification Failed"));
        }
    }
    // It signs the proof alone, and shows the signature to whoever asks for this session.
    client.claim = Some((from.at_sign.clone(), Challenge::new(proof)));
    Ok(Answer::text(format!("proof:{challenge}")))
}
