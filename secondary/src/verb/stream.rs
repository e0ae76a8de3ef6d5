//! `stream`: a client sends bytes to another atSign through this server (reference page section 2.23).
//!
//! Sender and receiver are both connected here; the receiver hears of the stream by a notification.

use atsign_protocol::verb::{MessageType, Notify, Stream};
use atsign_protocol::{AtError, AtSign, ErrorCode};

use super::notify;
use crate::atserver::AtServer;
use crate::session::{Answer, Client, Streaming};
use crate::store::Store;

pub(super) async fn stream<S: Store>(
    server: &AtServer<S>,
    client: &mut Client,
    stream: Stream,
) -> Result<Answer, AtError> {
    match stream {
        Stream::Init(offer) => {
            prove(client)?;
            if offer.start > 0 {
                server.streams.end(&offer.id);
            }
            let sending = server.streams.offer(&offer.id).ok_or_else(|| {
                let text = format!("stream {} is being sent already, or too many others are", offer.id);
                AtError::new(ErrorCode::IllegalArgument, text)
            })?;
            let text = offer.text(&server.at_sign);
            tell(server, client, offer.receiver, text).await?;
            client.streaming = Some(Box::new(Streaming::Sending(sending)));
        }
        Stream::Receive(id) => {
            let receiving = server.streams.receive(&id).ok_or_else(unknown)?;
            client.streaming = Some(Box::new(Streaming::Receiving(receiving)));
        }
        Stream::Done(id) if server.streams.end(&id) => {}
        Stream::Done(_) => return Err(unknown()),
        Stream::Resume { sender, id, start } => {
            prove(client)?;
            tell(server, client, sender, format!("stream_resume {id}:{start}")).await?;
        }
    }
    Ok(Answer::Nothing)
}

fn prove(client: &Client) -> Result<(), AtError> {
    if client.is_owner() || client.peer().is_some() {
        return Ok(());
    }
    Err(AtError::new(ErrorCode::Unauthenticated, "Stream init requires either pol or auth"))
}

fn unknown() -> AtError {
    AtError::new(ErrorCode::Unauthenticated, "Invalid stream id")
}

/// Notifies an atSign as the client: the owner whom he likes, another atSign's server the owner.
async fn tell<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    recipient: AtSign,
    text: String,
) -> Result<(), AtError> {
    let message_type = MessageType::Text;
    let notify = Notify { message_type, recipient: Some(recipient), name: text, ..Notify::default() };
    match client.peer() {
        Some(peer) => notify::receive(server, peer, notify).await.map(drop),
        None => notify::send(server, client, notify).await.map(drop),
    }
}
