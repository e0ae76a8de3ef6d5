//! The open connections: a bounded number, and who has to go when one more comes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Which crowd was too big, so that one of it had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// All connections.
    All,
    /// Those of one address.
    Address,
}

/// The connections that are open.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    places: HashMap<u64, Place>,
    /// How many places each address has; none of them is zero.
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Place {
    address: IpAddr,
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
    /// At most `max` connections, and at most `max_per_address` from one address.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, open: Mutex::default() })
    }

    /// A place for a connection from `address` that begins `now`. Where all are taken, or all of that address, another
    /// connection is told to end (of that address): of those that never asked anything the one that is idle longest,
    /// else of all.
    ///
    /// Returns the place, and why another had to go, if one had to.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> (Slot, Option<Crowd>) {
        let mut open = self.open.lock().expect("no holder panics");
        let crowded = if open.by_address.get(&address).is_some_and(|open| *open >= self.max_per_address) {
            Some(Crowd::Address)
        } else {
            (open.places.len() >= self.max).then_some(Crowd::All)
        };
        if let Some(crowd) = crowded {
            let of_crowd = |place: &Place| crowd == Crowd::All || place.address == address;
            let candidates = open.places.iter().filter(|(_, place)| of_crowd(place));
            let idlest = candidates.min_by_key(|(_, place)| (place.asked, place.active)).map(|(id, _)| *id);
            if let Some(place) = idlest.and_then(|id| open.remove(id)) {
                place.give_up.notify_one();
            }
        }
        *open.by_address.entry(address).or_default() += 1;
        let id = open.next;
        open.next += 1;
        let give_up = Arc::new(Notify::new());
        open.places.insert(id, Place { address, asked: false, active: now, give_up: Arc::clone(&give_up) });
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

impl Open {
    fn remove(&mut self, id: u64) -> Option<Place> {
        let place = self.places.remove(&id)?;
        if let Entry::Occupied(mut count) = self.by_address.entry(place.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(place)
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
        self.connections.open.lock().expect("no holder panics").remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn from(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn must_go(slot: &Slot) -> bool {
        slot.told_to_go().now_or_never().is_some()
    }

    #[test]
    fn one_too_many_sends_away_who_never_asked_before_who_is_idle_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let connections = Connections::new(2, 2);
        let (asker, _) = connections.enter(from(1), at(0));
        asker.asked(at(1));
        let (silent, _) = connections.enter(from(2), at(2));
        let (_third, crowded) = connections.enter(from(3), at(3));
        assert_eq!(crowded, Some(Crowd::All));
        assert_eq!((must_go(&asker), must_go(&silent)), (false, true));
        assert_eq!(connections.len(), 2);
    }

    #[test]
    fn a_place_is_given_back_when_its_connection_ends() {
        let connections = Connections::new(1, 1);
        let (slot, _) = connections.enter(from(1), Instant::now());
        drop(slot);
        assert!(connections.is_empty());
        assert!(connections.open.lock().expect("no panic").by_address.is_empty());
        assert_eq!(connections.enter(from(1), Instant::now()).1, None);
    }

    #[test]
    fn one_too_many_of_an_address_sends_away_one_of_that_address_only() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let connections = Connections::new(10, 2);
        let (neighbour, _) = connections.enter(from(1), at(0));
        let (first, _) = connections.enter(from(2), at(1));
        let (second, _) = connections.enter(from(2), at(2));
        let (third, crowded) = connections.enter(from(2), at(3));
        assert_eq!(crowded, Some(Crowd::Address));
        assert_eq!([&neighbour, &first, &second, &third].map(must_go), [false, true, false, false]);
        drop((first, second, third));
        assert_eq!(connections.enter(from(2), at(4)).1, None);
    }
}
