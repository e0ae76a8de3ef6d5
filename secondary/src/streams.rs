//! The streams that clients of this server send (reference page section 2.23): relayed as they come, never stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};

/// Streams at a time.
const MOST: usize = 16;

/// Chunks that wait for a slow receiver; then the sender waits.
const WAITING: usize = 1;

/// The streams of one server, by id.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    offered: Arc<Mutex<HashMap<String, Offered>>>,
}

struct Offered {
    /// Takes the way to the receiver, until there is one.
    accept: Option<oneshot::Sender<mpsc::Sender<Vec<u8>>>>,
    done: Arc<Notify>,
}

/// The sender's end. The stream ends when it is dropped.
pub(crate) struct Sending {
    /// By which the stream is known.
    pub(crate) id: String,
    accepted: oneshot::Receiver<mpsc::Sender<Vec<u8>>>,
    done: Arc<Notify>,
    streams: Streams,
}

/// What comes of a stream that was offered.
pub(crate) enum Progress {
    /// Somebody takes it, by this way.
    Accepted(mpsc::Sender<Vec<u8>>),
    /// Somebody has ended it.
    Done,
}

/// The receiver's end.
pub(crate) type Receiving = mpsc::Receiver<Vec<u8>>;

impl Streams {
    fn offered(&self) -> MutexGuard<'_, HashMap<String, Offered>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a stream; `None` where there are too many, or one of that id.
    pub(crate) fn offer(&self, id: &str) -> Option<Sending> {
        let mut offered = self.offered();
        if offered.len() >= MOST || offered.contains_key(id) {
            return None;
        }
        let (accept, accepted) = oneshot::channel();
        let done = Arc::new(Notify::new());
        offered.insert(id.to_owned(), Offered { accept: Some(accept), done: Arc::clone(&done) });
        Some(Sending { id: id.to_owned(), accepted, done, streams: self.clone() })
    }

    /// Takes a stream, once; `None` where there is none to take.
    pub(crate) fn receive(&self, id: &str) -> Option<Receiving> {
        let accept = self.offered().get_mut(id)?.accept.take()?;
        let (chunks, receiving) = mpsc::channel(WAITING);
        // Its sender may have gone in this moment.
        accept.send(chunks).ok()?;
        Some(receiving)
    }

    /// Ends a stream; false where there is none.
    pub(crate) fn end(&self, id: &str) -> bool {
        let ended = self.offered().remove(id);
        if let Some(offered) = &ended {
            offered.done.notify_one();
        }
        ended.is_some()
    }
}

impl Sending {
    /// What comes next, until there is a receiver. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Progress {
        tokio::select! {
            biased;
            () = self.done.notified() => Progress::Done,
            accepted = &mut self.accepted => accepted.map_or(Progress::Done, Progress::Accepted),
        }
    }

    /// Waits until somebody says that the stream has arrived.
    pub(crate) async fn done(&self) {
        self.done.notified().await;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut offered = self.streams.offered();
        // One that was ended may have been offered again by another connection.
        if offered.get(&self.id).is_some_and(|stream| Arc::ptr_eq(&stream.done, &self.done)) {
            offered.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_has_one_sender_and_one_receiver() {
        let streams = Streams::default();
        let mut sending = streams.offer("s").expect("offered");
        assert!(streams.offer("s").is_none());
        let mut receiving = streams.receive("s").expect("received");
        assert!(streams.receive("s").is_none() && streams.receive("other").is_none());
        let Progress::Accepted(chunks) = sending.next().await else { panic!("nobody takes it") };
        chunks.send(b"bytes".to_vec()).await.expect("sent");
        assert_eq!(receiving.recv().await.as_deref(), Some(&b"bytes"[..]));
        assert!(streams.end("s"));
        sending.done().await;
        assert!(!streams.end("s"));
    }

    #[test]
    fn a_sender_that_goes_takes_its_stream_along_and_no_other() {
        let streams = Streams::default();
        let first = streams.offer("s").expect("offered");
        streams.end("s");
        let _second = streams.offer("s").expect("offered again");
        drop(first);
        assert!(streams.receive("s").is_some());
        let third = streams.offer("t").expect("offered");
        drop(third);
        assert!(streams.receive("t").is_none());
    }

    #[test]
    fn there_are_only_so_many() {
        let streams = Streams::default();
        let sending: Vec<_> = (0..MOST).map(|id| streams.offer(&id.to_string())).collect();
        assert!(sending.iter().all(Option::is_some) && streams.offer("more").is_none());
    }
}
