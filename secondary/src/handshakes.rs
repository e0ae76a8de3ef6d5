//! TLS handshakes under way: few at a time, for they take much memory, and no address can keep others from theirs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::origin::Origin;

/// A handshake younger than this is not given up for a newer one.
const YOUNG: Duration = Duration::from_secs(2);

/// Connections that wait for their turn. When there are more, one of the address that has the most is closed.
const WAITING: usize = 64;

/// The handshakes under way, oldest first. When there are as many as there may be, or half of them for one address, the
/// oldest makes room once it is not young any more: who starts handshakes and lets them hang cannot keep others out.
///
/// Of the connections of one address that wait the newest is the next, and the oldest is closed when there are too many:
/// in a crowd that hangs, whoever comes now is the one who may mean it.
#[derive(Default)]
pub(crate) struct Handshakes {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    oldest_first: VecDeque<Handshake>,
    /// Oldest first, too.
    waiting: Vec<Waiter>,
}

struct Waiter {
    id: u64,
    origin: Origin,
    closed: Arc<Notify>,
}

struct Handshake {
    id: u64,
    origin: Origin,
    began: Instant,
    give_up: Arc<Notify>,
}

/// One handshake's place among the others; dropped when it has ended, one way or the other.
pub(crate) struct Turn {
    id: u64,
    give_up: Arc<Notify>,
    handshakes: Arc<Handshakes>,
}

/// A place among those who wait.
struct Waiting<'a> {
    id: u64,
    handshakes: &'a Handshakes,
}

impl Handshakes {
    /// Waits for a turn among `most`. `None`: too many wait, and this one the longest of them.
    pub(crate) async fn turn(self: &Arc<Self>, origin: Origin, most: usize) -> Option<Turn> {
        let (id, closed) = self.state().wait(origin);
        let _waiting = Waiting { id, handshakes: self };
        loop {
            // Noted before the look, so that what ends in between wakes us.
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            // Out of the lock before it begins, which takes it again.
            let room = self.state().make_room(id, origin, most.max(1));
            match room {
                Ok(()) => return Some(self.begin(origin)),
                Err(wait) => tokio::select! {
                    () = closed.notified() => return None,
                    _ = timeout(wait, ended) => {}
                },
            }
        }
    }

    fn begin(self: &Arc<Self>, origin: Origin) -> Turn {
        let mut state = self.state();
        let id = state.number();
        let give_up = Arc::new(Notify::new());
        let began = Instant::now();
        state.oldest_first.push_back(Handshake { id, origin, began, give_up: Arc::clone(&give_up) });
        Turn { id, give_up, handshakes: Arc::clone(self) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Has one more wait, and closes another for it where there are too many.
    fn wait(&mut self, origin: Origin) -> (u64, Arc<Notify>) {
        if self.waiting.len() >= WAITING {
            let count = |of: Origin| self.waiting.iter().filter(|waiter| waiter.origin == of).count();
            let crowd = self.waiting.iter().map(|waiter| waiter.origin).max_by_key(|origin| count(*origin));
            if let Some(oldest) = self.waiting.iter().position(|waiter| Some(waiter.origin) == crowd) {
                self.waiting.remove(oldest).closed.notify_one();
            }
        }
        let (id, closed) = (self.number(), Arc::new(Notify::new()));
        self.waiting.push(Waiter { id, origin, closed: Arc::clone(&closed) });
        (id, closed)
    }

    /// Whether one of an origin that waits may begin; else after how long to look again.
    fn make_room(&mut self, id: u64, origin: Origin, most: usize) -> Result<(), Duration> {
        let newest = self.waiting.iter().rfind(|waiter| waiter.origin == origin);
        if newest.is_none_or(|newest| newest.id != id) {
            // It is told when that one has begun or gone.
            return Err(YOUNG);
        }
        let of_one = self.count(origin);
        let has_its_half = of_one >= most.div_ceil(2);
        if self.oldest_first.len() < most && !has_its_half {
            return Ok(());
        }
        // Its own where it has its half; else of whoever has the most.
        let victims = if has_its_half {
            origin
        } else {
            let origins = self.oldest_first.iter().map(|handshake| handshake.origin);
            origins.max_by_key(|origin| self.count(*origin)).unwrap_or(origin)
        };
        let Some(oldest) = self.oldest_first.iter().position(|handshake| handshake.origin == victims) else {
            return Ok(());
        };
        let age = self.oldest_first[oldest].began.elapsed();
        if age < YOUNG {
            return Err(YOUNG.saturating_sub(age));
        }
        if let Some(oldest) = self.oldest_first.remove(oldest) {
            oldest.give_up.notify_one();
        }
        Ok(())
    }

    fn count(&self, origin: Origin) -> usize {
        self.oldest_first.iter().filter(|handshake| handshake.origin == origin).count()
    }
}

impl Turn {
    /// Ends when the handshake is to make room.
    pub(crate) async fn given_up(&self) {
        self.give_up.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.handshakes.state().oldest_first.retain(|handshake| handshake.id != self.id);
        self.handshakes.ended.notify_waiters();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.handshakes.state().waiting.retain(|waiter| waiter.id != self.id);
        self.handshakes.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn origin(last: u8) -> Origin {
        IpAddr::from([10, 0, 0, last]).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_handshake_makes_room_after_two_seconds() {
        let handshakes = Arc::new(Handshakes::default());
        let hanging = handshakes.turn(origin(1), 1).await.expect("a turn");
        let start = Instant::now();
        let _next = handshakes.turn(origin(2), 1).await.expect("a turn");
        assert_eq!(start.elapsed(), YOUNG);
        hanging.given_up().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_ends_makes_room_at_once() {
        let handshakes = Arc::new(Handshakes::default());
        let quick = handshakes.turn(origin(1), 1).await.expect("a turn");
        let start = Instant::now();
        let (next, ()) = tokio::join!(handshakes.turn(origin(2), 1), async { drop(quick) });
        assert!(next.is_some());
        assert!(start.elapsed() < Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_has_half_of_the_turns_at_most_and_no_end_of_waiting_connections() {
        let handshakes = Arc::new(Handshakes::default());
        let mut flood = Vec::new();
        for _ in 0..200 {
            let handshakes = Arc::clone(&handshakes);
            flood.push(tokio::spawn(async move {
                let turn = handshakes.turn(origin(1), 8).await;
                tokio::time::sleep(Duration::from_hours(1)).await;
                turn.is_some()
            }));
        }
        tokio::task::yield_now().await;
        let start = Instant::now();
        let _owner = handshakes.turn(origin(2), 8).await.expect("a turn");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(handshakes.state().waiting.len() <= WAITING);
        assert_eq!(handshakes.state().count(origin(1)), 4);
        flood.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_that_hangs_the_newest_of_the_same_address_is_next() {
        let handshakes = Arc::new(Handshakes::default());
        let hanging = (0..100).map(|_| {
            let handshakes = Arc::clone(&handshakes);
            tokio::spawn(async move {
                let turn = handshakes.turn(origin(1), 12).await;
                tokio::time::sleep(Duration::from_hours(1)).await;
                drop(turn);
            })
        });
        let hanging: Vec<_> = hanging.collect();
        // All of them have come before.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        assert!(handshakes.turn(origin(1), 12).await.is_some());
        assert!(start.elapsed() <= YOUNG, "{:?}", start.elapsed());
        hanging.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
