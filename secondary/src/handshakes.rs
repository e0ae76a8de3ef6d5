//! TLS handshakes under way: few at a time, for they take much memory, and no address can keep others from theirs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::origin::Origin;

/// A handshake younger than this is not given up for a newer one.
const YOUNG: Duration = Duration::from_secs(2);

/// Connections that wait for their turn, in all and of one address. More are closed.
const WAITING: usize = 64;
const WAITING_OF_ONE: usize = 32;

/// The handshakes under way, oldest first. When there are as many as there may be, or half of them for one address, the
/// oldest makes room once it is not young any more: who starts handshakes and lets them hang cannot keep others out.
#[derive(Default)]
pub(crate) struct Handshakes {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    oldest_first: VecDeque<Handshake>,
    waiting: Vec<Origin>,
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
struct Waiting<'a>(&'a Handshakes, Origin);

impl Handshakes {
    /// Waits for a turn among `most`. `None`: too many wait already.
    pub(crate) async fn turn(self: &Arc<Self>, origin: Origin, most: usize) -> Option<Turn> {
        let _waiting = {
            let mut state = self.state();
            let of_one = state.waiting.iter().filter(|waiting| **waiting == origin).count();
            if state.waiting.len() >= WAITING || of_one >= WAITING_OF_ONE {
                return None;
            }
            state.waiting.push(origin);
            Waiting(self, origin)
        };
        loop {
            // Noted before the look, so that what ends in between wakes us.
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            // Out of the lock before it begins, which takes it again.
            let room = self.state().make_room(origin, most.max(1));
            match room {
                Ok(()) => return Some(self.begin(origin)),
                Err(wait) => drop(timeout(wait, ended).await),
            }
        }
    }

    fn begin(self: &Arc<Self>, origin: Origin) -> Turn {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
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
    /// Whether one more of an origin may begin; else after how long to look again.
    fn make_room(&mut self, origin: Origin, most: usize) -> Result<(), Duration> {
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
        let mut state = self.0.state();
        if let Some(place) = state.waiting.iter().position(|origin| *origin == self.1) {
            state.waiting.swap_remove(place);
        }
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
    async fn one_address_has_half_of_the_turns_and_of_the_places_to_wait_at_most() {
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
        assert!(handshakes.state().waiting.len() <= WAITING_OF_ONE);
        assert_eq!(handshakes.state().count(origin(1)), 4);
        flood.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
