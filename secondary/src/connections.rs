//! Who is connected, and who has been silent for too long (reference page section 1.6).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atsign_protocol::{Access, AtSign};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::atserver::Limits;

/// The open connections of one server.
#[derive(Default)]
pub struct Connections {
    table: Arc<Table>,
}

#[derive(Default)]
struct Table {
    open: Mutex<Open>,
    /// Somebody came, so the others may be silent for less long.
    changed: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    slots: BTreeMap<u64, Arc<State>>,
}

/// What the table knows of one connection.
struct State {
    /// When the server last wrote to it: reading alone keeps nobody connected.
    written: Mutex<Instant>,
    proven: AtomicBool,
    /// As whom its client is connected, where it can be sent away for that.
    known_as: Mutex<Option<KnownAs>>,
    evicted: Notify,
}

/// As whom a client is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KnownAs {
    /// By an enrollment.
    Enrollment(Arc<Access>),
    /// As the server of another atSign.
    Peer(AtSign),
}

/// A place in the table, held by the session for as long as it lasts.
pub struct Slot {
    id: u64,
    state: Arc<State>,
    table: Arc<Table>,
}

impl Connections {
    /// How many are connected.
    pub fn count(&self) -> usize {
        self.table.open().slots.len()
    }

    /// A place for one more, `None` if there is none even after those silent for too long were sent away.
    pub(crate) fn admit(&self, limits: &Limits) -> Option<Slot> {
        let now = Instant::now();
        let mut open = self.table.open();
        if open.slots.len() >= limits.connections {
            open.evict(limits, now);
        }
        if open.slots.len() >= limits.connections {
            return None;
        }
        let id = open.next;
        open.next += 1;
        let state = Arc::new(State {
            written: Mutex::new(now),
            proven: AtomicBool::new(false),
            known_as: Mutex::default(),
            evicted: Notify::new(),
        });
        open.slots.insert(id, Arc::clone(&state));
        drop(open);
        self.table.changed.notify_one();
        Some(Slot { id, state, table: Arc::clone(&self.table) })
    }

    /// Sends away whoever is silent for too long, for ever. Sleeps while nobody can be.
    pub(crate) async fn reap(&self, limits: impl Fn() -> Limits) -> Infallible {
        // One connection more or less changes the allowed time a little; this often is precise enough.
        const SHORTEST: Duration = Duration::from_secs(1);
        loop {
            let next = self.table.open().evict(&limits(), Instant::now());
            match next {
                Some(due) => {
                    let _ = tokio::time::timeout(due.max(SHORTEST), self.table.changed.notified()).await;
                }
                None => self.table.changed.notified().await,
            }
        }
    }

    /// Sends away, after a while, everybody who is connected by an enrollment.
    pub(crate) fn end_enrollment(&self, id: &str, after: Duration) {
        if after.is_zero() {
            self.table.open().end_enrollment(id);
            return;
        }
        let (table, id) = (Arc::clone(&self.table), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            table.open().end_enrollment(&id);
        });
    }

    /// Sends away the servers of an atSign.
    pub(crate) fn end_peer(&self, at_sign: &AtSign) {
        self.table.open().end(|known_as| matches!(known_as, KnownAs::Peer(peer) if peer == at_sign));
    }

    /// Has the idle times reckoned again.
    pub(crate) fn recount(&self) {
        self.table.changed.notify_one();
    }
}

impl Table {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn end_enrollment(&self, id: &str) {
        self.end(|known_as| matches!(known_as, KnownAs::Enrollment(access) if access.enrollment_id == id));
    }

    fn end(&self, who: impl Fn(&KnownAs) -> bool) {
        for state in self.slots.values() {
            if state.known_as().as_ref().is_some_and(&who) {
                state.evicted.notify_one();
            }
        }
    }

    /// Takes the silent ones out of the table and tells their sessions; returns when the next one is due.
    fn evict(&mut self, limits: &Limits, now: Instant) -> Option<Duration> {
        let open = self.slots.len();
        let mut next: Option<Duration> = None;
        self.slots.retain(|_, state| {
            let allowed = limits.allowed_idle(state.proven.load(Ordering::Relaxed), open);
            let silent = now.saturating_duration_since(state.written());
            if silent > allowed {
                state.evicted.notify_one();
                return false;
            }
            let due = allowed.saturating_sub(silent).saturating_add(Duration::from_millis(1));
            next = Some(next.map_or(due, |next| next.min(due)));
            true
        });
        next
    }
}

impl State {
    fn known_as(&self) -> MutexGuard<'_, Option<KnownAs>> {
        self.known_as.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> Instant {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The server wrote to the client.
    pub(crate) fn written(&self) {
        *self.state.written.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The client has proved who it is, or is a stranger again.
    pub(crate) fn set_proven(&self, proven: bool) {
        self.state.proven.store(proven, Ordering::Relaxed);
    }

    /// As whom the client is connected, if it can be sent away for that.
    pub(crate) fn set_known_as(&self, known_as: Option<KnownAs>) {
        *self.state.known_as() = known_as;
    }

    /// Ends when the connection is to be closed.
    pub(crate) async fn evicted(&self) {
        self.state.evicted.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.table.open().slots.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_at_most() -> Limits {
        Limits { connections: 2, ..Limits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_admits_nobody_until_somebody_leaves() {
        let connections = Connections::default();
        let first = connections.admit(&two_at_most()).expect("a place");
        let _second = connections.admit(&two_at_most()).expect("a place");
        assert!(connections.admit(&two_at_most()).is_none());
        drop(first);
        assert!(connections.admit(&two_at_most()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_sends_away_who_was_silent_for_the_shortest_time_allowed() {
        let connections = Connections::default();
        let silent = connections.admit(&two_at_most()).expect("a place");
        let busy = connections.admit(&two_at_most()).expect("a place");
        tokio::time::advance(Duration::from_secs(6)).await;
        busy.written();
        let _third = connections.admit(&two_at_most()).expect("the place of the silent one");
        silent.evicted().await;
        assert_eq!(connections.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reaper_sends_strangers_away_after_ten_minutes_and_leaves_the_owner() {
        let connections = Arc::new(Connections::default());
        let stranger = connections.admit(&Limits::default()).expect("a place");
        let owner = connections.admit(&Limits::default()).expect("a place");
        owner.set_proven(true);
        let table = Arc::clone(&connections);
        let reaper = tokio::spawn(async move { table.reap(Limits::default).await });
        let start = Instant::now();
        stranger.evicted().await;
        assert_eq!(start.elapsed().as_secs(), 600);
        assert_eq!(connections.count(), 1);
        reaper.abort();
    }
}
