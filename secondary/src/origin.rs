//! Where a client comes from, and how often somebody from there failed to prove to be the owner.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// An address, of IPv6 the network of a site: who has one of its addresses has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(u64);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No site has such a network: these are addresses without a prefix in IPv6.
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            IpAddr::V6(address) => Self(u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }
}

/// Failures count for so long.
const MEMORY: Duration = Duration::from_mins(1);

/// Origins that are remembered; of more, those that failed the longest ago are forgotten.
const ORIGINS: usize = 256;

/// After so many failures, answers to more are delayed by so long.
const DELAYS: [(u32, Duration); 2] = [(40, Duration::from_secs(4)), (15, Duration::from_millis(500))];

/// Answers that are delayed at a time. Who fails when there are as many is sent away instead.
const DELAYED: usize = 16;

/// The failed logins of one server. Only failures are held back: whoever has the key gets in at once, from wherever.
pub(crate) struct Failures {
    recent: Mutex<HashMap<Origin, (u32, Instant)>>,
    places: Semaphore,
}

impl Default for Failures {
    fn default() -> Self {
        Self { recent: Mutex::default(), places: Semaphore::new(DELAYED) }
    }
}

impl Failures {
    /// Notes a failure and waits out what follows from it. False: the connection is to end.
    pub(crate) async fn failed(&self, origin: Origin) -> bool {
        let delay = self.note(origin);
        if delay.is_zero() {
            return true;
        }
        let Ok(_place) = self.places.try_acquire() else { return false };
        tokio::time::sleep(delay).await;
        true
    }

    fn note(&self, origin: Origin) -> Duration {
        let now = Instant::now();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, (_, last)| now.saturating_duration_since(*last) < MEMORY);
        if recent.len() >= ORIGINS
            && !recent.contains_key(&origin)
            && let Some(oldest) = recent.iter().min_by_key(|(_, (_, last))| *last).map(|(origin, _)| *origin)
        {
            recent.remove(&oldest);
        }
        let (failures, last) = recent.entry(origin).or_insert((0, now));
        (*failures, *last) = (*failures + 1, now);
        DELAYS.iter().find(|(many, _)| *failures > *many).map_or(Duration::ZERO, |(_, delay)| *delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn a_site_is_one_origin_however_many_addresses_it_has() {
        assert_eq!(origin("2001:db8:1:2::3"), origin("2001:db8:1:2:ffff::4"));
        assert_ne!(origin("2001:db8:1:2::3"), origin("2001:db8:1:3::3"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
        assert_ne!(origin("10.0.0.1"), origin("10.0.0.2"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_failing_waits_and_nobody_else_does() {
        let failures = Failures::default();
        let (guesser, owner) = (origin("10.0.0.1"), origin("10.0.0.2"));
        let began = Instant::now();
        for _ in 0..15 {
            assert!(failures.failed(guesser).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(failures.failed(guesser).await);
        assert_eq!(began.elapsed(), Duration::from_millis(500));
        assert!(failures.failed(owner).await);
        assert_eq!(began.elapsed(), Duration::from_millis(500));
        tokio::time::advance(MEMORY).await;
        assert!(failures.failed(guesser).await);
        assert_eq!(failures.note(guesser), Duration::ZERO, "a minute later it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_guessers_is_sent_away_and_takes_no_more_than_its_table() {
        let failures = Failures::default();
        let _places: Vec<_> = (0..DELAYED).map(|_| failures.places.try_acquire().expect("a place")).collect();
        for _ in 0..15 {
            failures.failed(origin("10.0.0.1")).await;
        }
        assert!(!failures.failed(origin("10.0.0.1")).await);
        for number in 0..2000_u32 {
            failures.note(IpAddr::from(number.to_be_bytes()).into());
        }
        assert!(failures.recent.lock().expect("recent").len() <= ORIGINS);
    }
}
