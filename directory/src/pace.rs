//! How fast a connection, and an address of clients, may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Addresses whose pace is known at a time.
const MAX_ADDRESSES: usize = 4096;

/// When the next question may be answered, so that their rate stays below a bound: a bucket of one second's worth.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// The bucket is full at this time.
    full: Instant,
}

impl Pace {
    /// So many questions a second, on average.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { interval: Duration::from_secs(1) / per_second, full: now }
    }

    /// When the question that came `now` may be answered.
    pub fn next(&mut self, now: Instant) -> Instant {
        self.full = self.full.max(now) + self.interval;
        // One second's worth may come at once.
        (self.full - self.interval).checked_sub(Duration::from_secs(1)).map_or(now, |at| at.max(now))
    }
}

/// The pace of each address, whatever connections it opens and closes.
#[derive(Debug)]
pub struct Paces {
    per_second: u32,
    paces: Mutex<HashMap<IpAddr, Pace>>,
}

impl Paces {
    /// So many questions a second from one address, on average.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, paces: Mutex::default() }
    }

    /// When the question that came `now` from `address` may be answered.
    pub fn next(&self, address: IpAddr, now: Instant) -> Instant {
        let mut paces = self.paces.lock().expect("no holder panics");
        if paces.len() >= MAX_ADDRESSES && !paces.contains_key(&address) {
            // Whose bucket is full again is not held back by being remembered.
            paces.retain(|_, pace| pace.full > now);
            if paces.len() >= MAX_ADDRESSES {
                let calmest = paces.iter().min_by_key(|(_, pace)| pace.full).map(|(address, _)| *address);
                calmest.map(|calmest| paces.remove(&calmest));
            }
        }
        paces.entry(address).or_insert_with(|| Pace::new(self.per_second, now)).next(now)
    }
}

/// What counts as one address: of IPv6 the /64, because a client has all of it.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_questions_is_answered_at_once_and_the_rest_at_the_rate() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut pace = Pace::new(10, now);
        let waits: Vec<u128> = (0..13).map(|_| (pace.next(now) - now).as_millis()).collect();
        assert_eq!(waits[..11], [0; 11]);
        assert_eq!(waits[11..], [100, 200]);
    }

    #[test]
    fn each_address_has_its_own_pace() {
        let (paces, now) = (Paces::new(1), Instant::now() + Duration::from_secs(10));
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        for _ in 0..5 {
            paces.next(one, now);
        }
        assert_eq!((paces.next(one, now) - now).as_secs(), 4);
        assert_eq!(paces.next(other, now), now);
    }

    #[test]
    fn addresses_without_end_do_not_make_the_table_grow_nor_set_the_busiest_free() {
        let (paces, now) = (Paces::new(1), Instant::now() + Duration::from_secs(10));
        let busy = "192.0.2.1".parse().expect("an address");
        for _ in 0..5 {
            paces.next(busy, now);
        }
        for number in 0..10_000_u32 {
            paces.next(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(paces.paces.lock().expect("no panic").len() <= MAX_ADDRESSES);
        assert!(paces.next(busy, now) > now);
    }

    #[test]
    fn a_network_of_64_bits_is_one_client_and_a_mapped_address_is_the_old_one() {
        let [one, other, mapped] = ["2001:db8::1", "2001:db8::ffff:2", "::ffff:192.0.2.1"]
            .map(|text| text.parse().expect("an address"));
        assert_eq!(client(one), client(other));
        assert_eq!(client(mapped), IpAddr::from([192, 0, 2, 1]));
    }
}
