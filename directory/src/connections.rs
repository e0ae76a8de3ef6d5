//! The open connections: a bounded number, and who has to go when one more comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The connections that are open.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    places: HashMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    /// Whether a question was answered here. Who only connects goes first.
    asked: bool,
    active: Instant,
    give_up: Arc<Notify>,
}

/// A connection's place; given back on drop.
#[derive(Debug)]
pub struct Slot {
    id: u64,
    connections: Arc<Connections>,
    give_up: Arc<Notify>,
}

impl Connections {
    /// At most `max` connections.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    /// A place for a connection that begins `now`. Where all are taken, another connection is told to end: of those
    /// that never asked anything the one that is idle longest, else of all.
    ///
    /// Returns the place, and whether another had to go.
    pub fn enter(self: &Arc<Self>, now: Instant) -> (Slot, bool) {
        let mut open = self.open.lock().expect("no holder panics");
        let mut crowded = false;
        if open.places.len() >= self.max {
            let idlest =
                open.places.iter().min_by_key(|(_, place)| (place.asked, place.active)).map(|(id, _)| *id);
            if let Some(place) = idlest.and_then(|id| open.places.remove(&id)) {
                place.give_up.notify_one();
                crowded = true;
            }
        }
        let id = open.next;
        open.next += 1;
        let give_up = Arc::new(Notify::new());
        open.places.insert(id, Place { asked: false, active: now, give_up: Arc::clone(&give_up) });
        (Slot { id, connections: Arc::clone(self), give_up }, crowded)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.lock().expect("no holder panics").places.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Slot {
    /// A question was answered `now`.
    pub fn asked(&self, now: Instant) {
        let mut open = self.connections.open.lock().expect("no holder panics");
        if let Some(place) = open.places.get_mut(&self.id) {
            (place.asked, place.active) = (true, now);
        }
    }

    /// Returns when this connection has to make room.
    pub async fn told_to_go(&self) {
        self.give_up.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open.lock().expect("no holder panics").places.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn must_go(slot: &Slot) -> bool {
        slot.told_to_go().now_or_never().is_some()
    }

    #[test]
    fn one_too_many_sends_away_who_never_asked_before_who_is_idle_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let connections = Connections::new(2);
        let (asker, _) = connections.enter(at(0));
        asker.asked(at(1));
        let (silent, _) = connections.enter(at(2));
        let (_third, crowded) = connections.enter(at(3));
        assert!(crowded);
        assert_eq!((must_go(&asker), must_go(&silent)), (false, true));
        assert_eq!(connections.len(), 2);
    }

    #[test]
    fn a_place_is_given_back_when_its_connection_ends() {
        let connections = Connections::new(1);
        let (slot, _) = connections.enter(Instant::now());
        drop(slot);
        assert!(connections.is_empty());
        assert!(!connections.enter(Instant::now()).1);
    }
}
