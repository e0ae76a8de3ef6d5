//! `batch` (reference page section 2.17): every command is answered, and neighbours share one write to the disk.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use atsign_protocol::verb::{Batch, Deleted, Notifying, Subject};
use atsign_protocol::{AtError, Command};
use serde::Serialize;
use tokio::io::AsyncWrite;

use super::{delete, lookup, notify, update};
use crate::atserver::AtServer;
use crate::session::{Answer, Client, Writer};
use crate::store::Store;

/// Commands that run together at most.
const TOGETHER: usize = 32;

#[derive(Serialize)]
struct Item {
    id: i64,
    response: Response,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Response {
    Data { data: Option<String> },
    Error { error_code: &'static str, error_message: &'static str },
}

pub(super) async fn batch<S, T>(
    server: &AtServer<S>,
    client: &Client,
    batch: Batch,
    writer: &mut Writer<'_, T>,
) -> io::Result<Result<Answer, AtError>>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    writer.push(b"data:[").await?;
    let mut first = true;
    let mut commands =
        batch.0.into_iter().map(|item| (item.id, Command::parse(&item.command, true))).peekable();
    while commands.peek().is_some() {
        let mut group = Vec::new();
        let mut keys = BTreeSet::new();
        // Different keys only: what is done to one key is done in its order.
        while group.len() < TOGETHER
            && let Some((id, command)) =
                commands.next_if(|(_, command)| key_of(command).is_none_or(|key| keys.insert(key)))
        {
            group.push((id, execute(server, client, command)));
        }
        for (id, answer) in together(group).await {
            if !std::mem::take(&mut first) {
                writer.push(b",").await?;
            }
            let response = match answer {
                Ok(Answer::Text(text) | Answer::Spaced(text)) => Response::Data { data: Some(text) },
                Ok(Answer::Null | Answer::Written | Answer::Prompt) => Response::Data { data: None },
                Err(error) => Response::Error {
                    error_code: error.code().code(),
                    error_message: error.code().description(),
                },
            };
            // Texts and a number always serialise.
            writer.push(&serde_json::to_vec(&Item { id, response }).unwrap_or_default()).await?;
        }
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

async fn execute<S: Store>(
    server: &AtServer<S>,
    client: &Client,
    command: Result<Command, AtError>,
) -> Result<Answer, AtError> {
    match command? {
        Command::Update(update) => update::update(server, client, update).await,
        Command::UpdateMeta(update) => update::update_meta(server, client, update).await,
        Command::Delete(delete) => delete::delete(server, client, &delete).await,
        Command::LocalLookup(llookup) => lookup::llookup(server, client, &llookup).await,
        Command::Lookup(lookup) => lookup::lookup(server, client, lookup).await,
        Command::ProxyLookup(plookup) => lookup::plookup(server, client, &plookup).await,
        // A list has no bound, and is written part by part.
        Command::Notify(notifying) if !matches!(notifying, Notifying::List(_)) => {
            notify::notify(server, client, notifying).await
        }
        _ => Err(AtError::syntax("this verb cannot stand in a batch")),
    }
}

/// The key that a command changes or reads, where two of them on the same key must keep their order.
fn key_of(command: &Result<Command, AtError>) -> Option<String> {
    Some(match command.as_ref().ok()? {
        Command::Update(update) => match &update.key {
            Subject::Key(key) => key.to_string(),
            // As rare as they are, these run one after the other.
            Subject::OwnKey { .. } | Subject::PkamPublicKey => String::new(),
        },
        Command::UpdateMeta(update) => update.key.to_string(),
        Command::Delete(delete) => match &delete.key {
            Deleted::Key(key) => key.to_string(),
            Deleted::CramSecret => String::new(),
        },
        // These may read any key through a reference.
        Command::LocalLookup(_) | Command::Lookup(_) | Command::ProxyLookup(_) => String::new(),
        _ => return None,
    })
}

/// Runs all at once, each begun in its turn, and gives the answers in that order.
async fn together<F: Future>(group: Vec<(i64, F)>) -> Vec<(i64, F::Output)> {
    let mut answers: Vec<Option<(i64, F::Output)>> = group.iter().map(|_| None).collect();
    let mut running: Vec<(i64, Pin<Box<F>>)> =
        group.into_iter().map(|(id, future)| (id, Box::pin(future))).collect();
    poll_fn(|context| {
        for ((id, future), answer) in running.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *answer = Some((*id, ready));
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}
