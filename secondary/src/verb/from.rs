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
    let proof = Uuid::new_v4();
    let challenge = format!("{}{}:{proof}", client.session_id, from.at_sign);
    Ok(if from.at_sign == server.at_sign {
        client.challenge = Some(Challenge::new(challenge.clone()));
        Answer::text(challenge)
    } else {
        // Another server would sign this one; nothing that it could do with the signature is served.
        client.challenge = None;
        Answer::text(format!("proof:{challenge}"))
    })
}
