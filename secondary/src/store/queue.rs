//! The queue between the sessions and the store's thread: bounded, and nobody blocks on it but the thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::database::{Database, DatabaseError};
use super::{Fetched, Record, StoreError};

/// Requests that may wait at the same time; who comes later waits for a place first.
const PLACES: usize = 128;

/// How much memory an answer holds while its group is being committed, bytes.
pub trait Weight {
    /// The bytes.
    fn weight(&self) -> usize;
}

impl Weight for Option<Record> {
    fn weight(&self) -> usize {
        self.as_ref().and_then(|record| record.value.as_ref()).map_or(0, String::len)
    }
}

impl Weight for Option<Fetched> {
    fn weight(&self) -> usize {
        match self {
            Some(Fetched::Record(Record { value: Some(value), .. })) => value.len(),
            _ => 0,
        }
    }
}

impl Weight for Vec<String> {
    fn weight(&self) -> usize {
        self.iter().map(String::len).sum()
    }
}

impl Weight for i64 {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for u64 {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for PathBuf {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for bool {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for (u64, u64) {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for () {
    fn weight(&self) -> usize {
        0
    }
}

/// One request, with its answer once it has one.
pub trait Job: Send {
    /// Whether it changes something, so that its answer has to wait for the disk.
    fn writes(&self) -> bool;
    /// Whether it cannot be done within a transaction.
    fn alone(&self) -> bool;
    /// Whether nobody waits for its answer any more.
    fn abandoned(&self) -> bool;
    /// Bytes that it holds: what it brought, and its answer.
    fn weight(&self) -> usize;
    /// Does it, and keeps the answer. May be done again, where the transaction around it was undone.
    fn run(&mut self, database: &mut Database) -> Result<(), DatabaseError>;
    /// Whether its answer is one.
    fn succeeded(&self) -> bool;
    /// Replaces the answer.
    fn fail(&mut self, error: StoreError);
    /// Gives the answer to whoever asked.
    fn answer(self: Box<Self>);
}

/// What the thread receives.
pub enum Message {
    /// A request.
    Job(Box<dyn Job>),
    /// Look at what is said about the memory.
    Memory,
    /// Close the store and say so.
    Stop,
}

/// How a request wants to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It changes nothing.
    Read,
    /// It changes something, so that its answer has to wait for the disk.
    Write,
    /// It changes nothing, and cannot be done within a transaction.
    Alone,
}

struct Task<W, T> {
    work: W,
    manner: Manner,
    brought: usize,
    result: Result<T, StoreError>,
    sender: oneshot::Sender<Result<T, StoreError>>,
    _place: OwnedSemaphorePermit,
}

impl<W, T> Job for Task<W, T>
where
    W: FnMut(&mut Database) -> Result<T, DatabaseError> + Send,
    T: Weight + Send,
{
    fn writes(&self) -> bool {
        self.manner == Manner::Write
    }

    fn alone(&self) -> bool {
        self.manner == Manner::Alone
    }

    fn abandoned(&self) -> bool {
        self.sender.is_closed()
    }

    fn weight(&self) -> usize {
        self.brought + self.result.as_ref().map_or(0, Weight::weight)
    }

    fn run(&mut self, database: &mut Database) -> Result<(), DatabaseError> {
        let result = (self.work)(database);
        match result {
            Ok(answer) => {
                self.result = Ok(answer);
                Ok(())
            }
            Err(error) => {
                self.result = Err(match &error {
                    DatabaseError::Refused(reason) => StoreError::Refused(reason.clone()),
                    DatabaseError::OverLimit(limit) => StoreError::OverLimit(*limit),
                    error => StoreError::Failed(error.to_string()),
                });
                Err(error)
            }
        }
    }

    fn succeeded(&self) -> bool {
        self.result.is_ok()
    }

    fn fail(&mut self, error: StoreError) {
        self.result = Err(error);
    }

    fn answer(self: Box<Self>) {
        // Whoever asked may be gone.
        let _ = self.sender.send(self.result);
    }
}

/// The sessions' end.
#[derive(Clone, Debug)]
pub struct Queue {
    messages: Sender<Message>,
    places: Arc<Semaphore>,
}

impl Queue {
    /// A queue and the thread's end of it.
    pub fn new() -> (Self, Receiver<Message>) {
        let (messages, receiver) = channel();
        (Self { messages, places: Arc::new(Semaphore::new(PLACES)) }, receiver)
    }

    /// Waits for a place, hands `work` to the thread and waits for its answer. `brought`: bytes that `work` holds.
    pub async fn ask<T>(
        &self,
        manner: Manner,
        brought: usize,
        work: impl FnMut(&mut Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Weight + Send + 'static,
    {
        let ended = |()| StoreError::Unavailable("the store is closed".to_owned());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| ended(()))?;
        let (sender, receiver) = oneshot::channel();
        let result = Err(StoreError::Unavailable("the store did not come to it".to_owned()));
        let task = Task { work, manner, brought, result, sender, _place: place };
        self.messages.send(Message::Job(Box::new(task))).map_err(|_| ended(()))?;
        receiver.await.map_err(|_| ended(()))?
    }

    /// Has the thread look at what is said about its memory.
    pub fn tell_of_memory(&self) {
        // Without a receiver it has ended already.
        let _ = self.messages.send(Message::Memory);
    }

    /// Asks the thread to close the store after everything that is queued.
    pub fn stop(&self) {
        // Without a receiver it has ended already.
        let _ = self.messages.send(Message::Stop);
    }
}
