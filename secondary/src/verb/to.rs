//! `to`: the public keys of the atSign that another server is about to talk to (reference page section 2.24).

use atsign_protocol::answer::WholeAnswer;
use atsign_protocol::verb::To;
use atsign_protocol::{AtError, ErrorCode};
use serde::Serialize;

use crate::atserver::AtServer;
use crate::session::Answer;
use crate::store::{Record, Store};

/// Each as `lookup:all` answers it, null where there is none.
#[derive(Serialize)]
struct PublicKeys<'a> {
    publickey: Option<WholeAnswer<'a>>,
    signing_publickey: Option<WholeAnswer<'a>>,
}

pub(super) async fn to<S: Store>(server: &AtServer<S>, to: &To) -> Result<Answer, AtError> {
    if to.at_sign != server.at_sign {
        let text = format!("{} is not hosted on this atServer", to.at_sign);
        return Err(AtError::new(ErrorCode::SecondaryNotFound, text));
    }
    let names = ["publickey", "signing_publickey"].map(|name| format!("public:{name}{}", server.at_sign));
    let records = [visible(server, &names[0]).await?, visible(server, &names[1]).await?];
    let [publickey, signing_publickey] = [0, 1].map(|index: usize| {
        let Record { value, metadata } = records[index].as_ref()?;
        Some(WholeAnswer { key: &names[index], data: value.as_deref(), metadata })
    });
    // Texts and numbers always serialise.
    Ok(Answer::Text(serde_json::to_string(&PublicKeys { publickey, signing_publickey }).unwrap_or_default()))
}

async fn visible<S: Store>(server: &AtServer<S>, key: &str) -> Result<Option<Record>, AtError> {
    Ok(server.store.get(key).await?.filter(|record| record.metadata.is_active(server.now())))
}
