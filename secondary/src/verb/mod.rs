//! What each verb does. The request is a value of the protocol; nothing here knows of sockets.

mod batch;
mod config;
mod cram;
mod delete;
mod enroll;
mod enroll_request;
mod enroll_update;
mod from;
mod info;
mod keys;
mod lookup;
mod monitor;
mod noop;
mod notifications;
mod notify;
mod otp;
mod pkam;
mod pol;
pub(crate) mod read;
pub(crate) mod remote;
mod scan;
mod stats;
mod stream;
mod sync;
mod to;
mod update;

pub(crate) use enroll_request::Requests;

use std::io;

use atsign_protocol::verb::Notifying;
use atsign_protocol::{AtError, Command, ErrorCode};
use tokio::io::AsyncWrite;

use crate::atserver::AtServer;
use crate::session::{Answer, Client, Writer};
use crate::store::{Exceeded, Store, StoreError};

/// Does what a command asks for. The outer error is the client's connection, lost in the middle of a long answer.
pub(crate) async fn execute<S, T>(
    server: &AtServer<S>,
    client: &mut Client,
    command: Command,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let by = if client.is_owner() { Some(&server.at_sign) } else { client.peer() };
    server.access_log.note_command(&server.store, &command, by, server.now()).await;
    Ok(match command {
        Command::From(from) => from::from(server, client, &from).await,
        Command::Cram(cram) => cram::cram(server, client, &cram).await,
        Command::Pkam(pkam) => pkam::pkam(server, client, &pkam).await,
        Command::Update(update) => update::update(server, client, update).await,
        Command::UpdateMeta(update) => update::update_meta(server, client, update).await,
        Command::Delete(delete) => delete::delete(server, client, &delete).await,
        Command::LocalLookup(llookup) => lookup::llookup(server, client, &llookup).await,
        Command::Lookup(lookup) => lookup::lookup(server, client, lookup).await,
        Command::ProxyLookup(plookup) => lookup::plookup(server, client, &plookup).await,
        Command::Scan(scan) => return scan::scan(server, client, &scan, writer).await,
        Command::Info(info) => info::info(server, client, info).await,
        Command::Noop(noop) => Ok(noop::noop(noop).await),
        Command::Pol => pol::pol(server, client).await,
        Command::Notify(Notifying::List(list)) => {
            return notifications::list(server, client, &list, writer).await;
        }
        Command::Notify(notifying) => notify::notify(server, client, notifying).await,
        Command::Monitor(monitor) => monitor::monitor(server, client, &monitor).await,
        Command::Stats(stats) => return stats::stats(server, client, &stats, writer).await,
        Command::Sync(sync) => return sync::sync(server, client, &sync, writer).await,
        Command::Batch(batch) => return batch::batch(server, client, batch, writer).await,
        Command::Otp(otp) => otp::otp(server, client, otp).await,
        Command::Enroll(enroll) => return enroll::enroll(server, client, enroll, writer).await,
        Command::Keys(keys) => return keys::keys(server, client, keys, writer).await,
        Command::Config(config) => config::config(server, client, config).await,
        Command::Stream(stream) => stream::stream(server, client, stream).await,
        Command::To(to) => to::to(server, &to).await,
        // The session ends before it comes to this.
        Command::Exit => Ok(Answer::Null),
    })
}

/// What a client is told of a store that did not do its part. Details are for the log: clients may be strangers.
impl From<StoreError> for AtError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(why) => Self::new(ErrorCode::IllegalState, why),
            StoreError::OverLimit(limit @ Exceeded::ValueBytes { .. }) => {
                Self::new(ErrorCode::BufferOverflow, limit.to_string()).and_stay()
            }
            StoreError::OverLimit(limit) => Self::new(ErrorCode::IllegalState, limit.to_string()),
            StoreError::Unavailable(why) => {
                tracing::warn!(%why, "a command found the store unavailable");
                Self::new(ErrorCode::DataStore, "the store is not available now, try again later")
            }
            StoreError::Failed(why) => {
                tracing::error!(%why, "a command found the store failing");
                Self::new(ErrorCode::DataStore, "the store failed")
            }
        }
    }
}

/// Compiles a client's regex.
fn regex(pattern: &str, client: &Client) -> Result<regex_lite::Regex, AtError> {
    crate::pattern::compile(pattern, client.is_owner())
}
