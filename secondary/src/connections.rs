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
use crate::memory::division::{CONNECTION, STRANGER};
use crate::memory::{Budget, Lease, Taker};
use crate::origin::Origin;

/// A stranger that spoke this recently is not sent away for another of its origin.
const YOUNG: Duration = Duration::from_secs(2);

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
    /// When it came.
    came: Instant,
    /// When the server last wrote to it: reading alone keeps nobody connected.
    written: Mutex<Instant>,
    proven: AtomicBool,
    /// As whom its client is connected, where it can be sent away for that.
    known_as: Mutex<Option<KnownAs>>,
    evicted: Notify,
    origin: Origin,
    /// The memory of the connection.
    lease: Mutex<Lease>,
    /// Whose memory takes what comes in.
    taker: SharedTaker,
}

/// Whose memory takes what a connection brings, as it is known above it and below.
pub(crate) type SharedTaker = Arc<Mutex<Taker>>;

/// As whom a client is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KnownAs {
    /// By an enrollment.
    Enrollment(Arc<Access>),
    /// As the server of another atSign.
    Peer(AtSign),
}

/// One connection, as it is told of.
pub(crate) struct Connected {
    /// As whom: our own atSign's owner, or another server; `None` for a stranger.
    pub(crate) by: Option<By>,
    /// How long ago it came.
    pub(crate) age: Duration,
    /// How long ago the server last wrote to it.
    pub(crate) silence: Duration,
}

/// Who is connected.
pub(crate) enum By {
    /// The atSign that the server belongs to.
    Owner,
    /// The server of another one.
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

    /// Every connection, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<Connected> {
        let connected = |state: &Arc<State>| {
            let by = match &*state.known_as() {
                _ if state.proven.load(Ordering::Relaxed) => Some(By::Owner),
                Some(KnownAs::Peer(at_sign)) => Some(By::Peer(at_sign.clone())),
                _ => None,
            };
            Connected { by, age: state.came.elapsed(), silence: state.written().elapsed() }
        };
        self.table.open().slots.values().map(connected).collect()
    }

    /// A place for one more, `None` if there is none even after those silent for too long were sent away.
    pub(crate) async fn admit(&self, limits: &Limits, origin: Origin, budget: &Budget) -> Option<Slot> {
        let mut lease = budget.lease(Taker::Stranger);
        if !lease.grow(STRANGER) {
            // Whoever is sent away leaves its memory a moment later.
            if !self.table.open().send_one_away(origin, Instant::now())
                || !lease.grow_within(STRANGER, YOUNG).await
            {
                return None;
            }
        }
        self.place(limits, origin, lease)
    }

    fn place(&self, limits: &Limits, origin: Origin, lease: Lease) -> Option<Slot> {
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
            came: now,
            written: Mutex::new(now),
            proven: AtomicBool::new(false),
            known_as: Mutex::default(),
            evicted: Notify::new(),
            origin,
            lease: Mutex::new(lease),
            taker: Arc::new(Mutex::new(Taker::Stranger)),
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

    /// Sends away a stranger of the origin that has the most of them: the one that was silent for longest, if that is
    /// long enough or another origin wants its place. False where there is nobody to be sent away.
    fn send_one_away(&mut self, newcomer: Origin, now: Instant) -> bool {
        let mut by_origin: BTreeMap<Origin, usize> = BTreeMap::new();
        for state in self.slots.values().filter(|state| !state.proven.load(Ordering::Relaxed)) {
            *by_origin.entry(state.origin).or_default() += 1;
        }
        let Some((crowd, count)) = by_origin.iter().max_by_key(|(_, count)| **count) else { return false };
        let is_elsewhere = by_origin.get(&newcomer).is_none_or(|own| own + 1 < *count);
        let strangers = self
            .slots
            .iter()
            .filter(|(_, state)| state.origin == *crowd && !state.proven.load(Ordering::Relaxed));
        let Some((id, state)) = strangers.min_by_key(|(_, state)| state.written()) else { return false };
        if !is_elsewhere && now.saturating_duration_since(state.written()) < YOUNG {
            return false;
        }
        state.evicted.notify_one();
        let id = *id;
        self.slots.remove(&id);
        true
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

    /// The client has proved to be the owner, or is a stranger again. False where there is no memory for another
    /// connection of the owner.
    pub(crate) fn set_proven(&self, proven: bool, budget: &Budget) -> bool {
        if self.state.proven.swap(proven, Ordering::Relaxed) == proven {
            return true;
        }
        let (taker, bytes) =
            if proven { (Taker::Connection, CONNECTION) } else { (Taker::Stranger, STRANGER) };
        let mut lease = budget.lease(taker);
        let has_room = lease.grow(bytes);
        if proven && !has_room {
            budget.account().refuse(taker, bytes);
        }
        *self.state.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
        has_room || !proven
    }

    /// Whose memory takes what comes in, now and later.
    pub(crate) fn taker(&self) -> SharedTaker {
        Arc::clone(&self.state.taker)
    }

    /// Tells whose memory that is.
    pub(crate) fn set_taker(&self, taker: Taker) {
        *self.state.taker.lock().unwrap_or_else(PoisonError::into_inner) = taker;
    }

    /// Where its client comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.state.origin
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

    async fn admit(connections: &Connections, limits: Limits, origin: u8) -> Option<Slot> {
        let origin = std::net::IpAddr::from([10, 0, 0, origin]).into();
        connections.admit(&limits, origin, &Budget::unlimited()).await
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_of_one_address_do_not_keep_others_out_and_leave_the_owner_alone() {
        let budget = Budget::new(crate::memory::Gauge::none().with_limit(6 << 20), None);
        let connections = Connections::default();
        let from = |last: u8| Origin::from(std::net::IpAddr::from([10, 0, 0, last]));
        let limits = Limits::default();
        let owner = connections.admit(&limits, from(9), &budget).await.expect("a place");
        assert!(owner.set_proven(true, &budget));
        let mut crowd = Vec::new();
        while budget.account().taken().strangers + STRANGER <= budget.account().shares().strangers {
            crowd.push(connections.admit(&limits, from(1), &budget).await.expect("a place"));
        }
        assert!(connections.admit(&limits, from(1), &budget).await.is_none(), "all of them just came");
        let first = crowd.remove(0);
        let leaves = async {
            first.evicted().await;
            drop(first);
        };
        let (newcomer, ()) = tokio::join!(connections.admit(&limits, from(2), &budget), leaves);
        assert!(newcomer.is_some(), "another address gets a place of the crowd's at once");
        assert_eq!(connections.count(), crowd.len() + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_admits_nobody_until_somebody_leaves() {
        let connections = Connections::default();
        let first = admit(&connections, two_at_most(), 1).await.expect("a place");
        let _second = admit(&connections, two_at_most(), 1).await.expect("a place");
        assert!(admit(&connections, two_at_most(), 1).await.is_none());
        drop(first);
        assert!(admit(&connections, two_at_most(), 1).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_server_sends_away_who_was_silent_for_the_shortest_time_allowed() {
        let connections = Connections::default();
        let silent = admit(&connections, two_at_most(), 1).await.expect("a place");
        let busy = admit(&connections, two_at_most(), 1).await.expect("a place");
        tokio::time::advance(Duration::from_secs(6)).await;
        busy.written();
        let _third = admit(&connections, two_at_most(), 1).await.expect("the place of the silent one");
        silent.evicted().await;
        assert_eq!(connections.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reaper_sends_strangers_away_after_ten_minutes_and_leaves_the_owner() {
        let connections = Arc::new(Connections::default());
        let stranger = admit(&connections, Limits::default(), 1).await.expect("a place");
        let owner = admit(&connections, Limits::default(), 1).await.expect("a place");
        assert!(owner.set_proven(true, &Budget::unlimited()));
        let table = Arc::clone(&connections);
        let reaper = tokio::spawn(async move { table.reap(Limits::default).await });
        let start = Instant::now();
        stranger.evicted().await;
        assert_eq!(start.elapsed().as_secs(), 600);
        assert_eq!(connections.count(), 1);
        reaper.abort();
    }
}
