//! `batch` (reference page section 2.17): every command is answered, and neighbours share one write to the disk.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use atsign_protocol::verb::{Batch, Delete, Deleted, Notifying, Subject, Update};
use atsign_protocol::{AtError, Command, ErrorCode};
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
    Error { error_code: &'static str, error_message: String },
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
        let mut touched = Touched::default();
        while group.len() < TOGETHER
            && let Some((id, command)) = commands.next_if(|(_, command)| touched.admits(touch_of(command)))
        {
            group.push((id, execute(server, client, command)));
        }
        for (id, answer) in together(group).await {
            if !std::mem::take(&mut first) {
                writer.push(b",").await?;
            }
            let response = match answer {
                Ok(Answer::Text(text) | Answer::Large(text, _) | Answer::Spaced(text)) => {
                    Response::Data { data: Some(text) }
                }
                Ok(Answer::Null | Answer::Written | Answer::Prompt | Answer::Nothing) => {
                    Response::Data { data: None }
                }
                Err(error) => {
                    Response::Error { error_code: error.code().code(), error_message: message(&error) }
                }
            };
            // Texts and a number always serialise.
            writer.push(&serde_json::to_vec(&Item { id, response }).unwrap_or_default()).await?;
        }
    }
    writer.push(b"]").await?;
    Ok(Ok(Answer::Written))
}

/// The standard description alone, as the reference server has it; of what is against a limit or a rule of the store also
/// which, for the code does not tell.
fn message(error: &AtError) -> String {
    let description = error.code().description();
    match error.code() {
        ErrorCode::BufferOverflow | ErrorCode::IllegalState => format!("{description} : {}", error.message()),
        _ => description.to_owned(),
    }
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

/// What a command changes or reads.
#[derive(Debug, PartialEq, Eq)]
enum Touch {
    /// No key.
    Nothing,
    /// One key.
    Key(String),
    /// Any key: a lookup may follow references.
    Any,
}

fn touch_of(command: &Result<Command, AtError>) -> Touch {
    let key = match command {
        Ok(
            Command::Update(Update { key: Subject::Key(key), .. })
            | Command::Delete(Delete { key: Deleted::Key(key), .. }),
        ) => key,
        Ok(Command::UpdateMeta(update)) => &update.key,
        Ok(Command::LocalLookup(llookup)) => &llookup.key,
        Ok(Command::Update(_) | Command::Delete(_) | Command::Lookup(_) | Command::ProxyLookup(_)) => {
            return Touch::Any;
        }
        _ => return Touch::Nothing,
    };
    Touch::Key(key.to_string())
}

/// What the commands of a group touch: different keys only, so that what is done to one key is done in its order.
#[derive(Default)]
struct Touched {
    keys: BTreeSet<String>,
    any: bool,
}

impl Touched {
    /// Takes a command in, unless it has to wait for one that is in already.
    fn admits(&mut self, touch: Touch) -> bool {
        match touch {
            Touch::Nothing => true,
            _ if self.any => false,
            Touch::Key(key) => self.keys.insert(key),
            Touch::Any => {
                self.any = self.keys.is_empty();
                self.any
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(commands: &[&str]) -> Vec<bool> {
        let mut touched = Touched::default();
        commands.iter().map(|command| touched.admits(touch_of(&Command::parse(command, true)))).collect()
    }

    #[test]
    fn only_commands_that_touch_different_keys_run_together() {
        assert_eq!(
            admitted(&["update:a@alice 1", "delete:b@alice", "llookup:c@alice", "noop:0", "nonsense"]),
            [true; 5]
        );
        for second in ["update:A@alice 1", "update:meta:a@alice:ttl:1", "delete:a@alice", "llookup:a@alice"] {
            assert_eq!(admitted(&["update:a@alice 1", second]), [true, false], "{second}");
        }
    }

    #[test]
    fn what_may_touch_any_key_runs_alone() {
        for any in ["lookup:a@alice", "plookup:a@alice", "update:privatekey:at_pkam_publickey x"] {
            assert_eq!(admitted(&[any, "update:b@alice 1", "noop:0"]), [true, false, true], "{any}");
            assert_eq!(admitted(&["update:b@alice 1", any]), [true, false], "{any}");
        }
    }
}
