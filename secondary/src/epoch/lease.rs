//! The lease: how long a holder may answer without having been confirmed, and when another may try.
//!
//! Nothing here makes the store safe (the fence does that for writes); it bounds how old a read can be and says when a
//! silent holder is worth replacing. No time of another machine is compared: who waits measures the silence itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// A holder answers nothing once its last confirmation is older.
    pub held: Duration,
    /// Another may try after so much silence: a tenth more, for clocks that run unevenly.
    pub silence: Duration,
    /// A holder renews so often.
    pub renewal: Duration,
}

impl Term {
    /// 30 s held, 33 s of silence, a renewal every 10 s, or in this proportion.
    pub fn new(held: Duration) -> Self {
        Self { held, silence: held + held / 10, renewal: held / 3 }
    }

    /// Time to the next renewal: a tenth shorter at most, so that a thousand servers do not renew at once.
    /// `random` is any number.
    pub fn next_renewal(&self, random: u64) -> Duration {
        let per_mille = 1000 - u32::try_from(random % 100).unwrap_or(0);
        self.renewal / 1000 * per_mille
    }
}

/// When the holder was last confirmed; shared between the store's thread, which confirms, and those who answer.
#[derive(Debug)]
pub struct Lease {
    term: Term,
    /// Milliseconds of [`super::boottime`]; 0 before the first confirmation.
    confirmed: AtomicU64,
}

impl Lease {
    /// A lease that was never confirmed.
    pub fn new(term: Term) -> Self {
        Self { term, confirmed: AtomicU64::new(0) }
    }

    /// The times of this lease.
    pub fn term(&self) -> Term {
        self.term
    }

    /// A renewal that began at `renewed` was followed by a look at the seal, which was clear.
    ///
    /// It counts from before the counter was written: a successor cannot have begun to measure silence earlier.
    pub fn confirm(&self, renewed: Duration) {
        self.confirmed.fetch_max(millis(renewed), Ordering::AcqRel);
    }

    /// The store is somebody else's: nothing may be answered any more.
    pub fn lapse(&self) {
        self.confirmed.store(0, Ordering::Release);
    }

    /// How long from `now` answers may still leave; `None` when none may.
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        match self.confirmed.load(Ordering::Acquire) {
            0 => None,
            confirmed => (Duration::from_millis(confirmed) + self.term.held)
                .checked_sub(now)
                .filter(|left| !left.is_zero()),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a contender remembers of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sign {
    /// Its number.
    pub number: u64,
    /// The token of its holder.
    pub token: String,
    /// Its renewal counter.
    pub renewals: u64,
}

/// A contender's own measure of how long all who may hold the store have been silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Watch {
    pub(super) last: Option<(Vec<Sign>, Duration)>,
}

impl Watch {
    /// One look at the signs of life, begun at `began` and answered at `ended`. True: nothing moved for `silence`.
    ///
    /// What was seen stood in the files at some moment between the two. So silence counts from the end of the first
    /// look to the beginning of this one, and a look that itself took long starts the measure again.
    pub fn silent(&mut self, signs: &[Sign], began: Duration, ended: Duration, silence: Duration) -> bool {
        let hung = ended.saturating_sub(began) > silence / 8;
        match &self.last {
            Some((last, since)) if *last == signs && !hung => began.saturating_sub(*since) >= silence,
            _ => {
                self.last = Some((signs.to_vec(), ended));
                false
            }
        }
    }

    /// For how long the same has been seen by `now`.
    pub fn silent_for(&self, now: Duration) -> Duration {
        self.last.as_ref().map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(33);

    fn sign(number: u64, renewals: u64) -> [Sign; 1] {
        [Sign { number, token: format!("token of {number}"), renewals }]
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_holder_is_silent_when_its_counter_stood_still_for_the_whole_time() {
        let mut watch = Watch::default();
        assert!(!watch.silent(&sign(1, 5), at(100), at(100), SILENCE));
        assert!(!watch.silent(&sign(1, 5), at(132), at(132), SILENCE));
        assert!(watch.silent(&sign(1, 5), at(133), at(133), SILENCE));
    }

    #[test]
    fn a_renewal_or_a_new_number_starts_the_measure_again() {
        let mut watch = Watch::default();
        assert!(!watch.silent(&sign(1, 5), at(100), at(100), SILENCE));
        assert!(!watch.silent(&sign(1, 6), at(140), at(140), SILENCE));
        assert!(!watch.silent(&sign(2, 6), at(180), at(180), SILENCE));
        assert!(watch.silent(&sign(2, 6), at(213), at(213), SILENCE));
    }

    #[test]
    fn a_look_that_hung_starts_the_measure_again() {
        let mut watch = Watch::default();
        assert!(!watch.silent(&sign(1, 5), at(100), at(100), SILENCE));
        assert!(!watch.silent(&sign(1, 5), at(120), at(160), SILENCE));
        assert!(!watch.silent(&sign(1, 5), at(192), at(192), SILENCE));
        assert!(watch.silent(&sign(1, 5), at(193), at(193), SILENCE));
    }

    #[test]
    fn silence_counts_from_the_end_of_the_first_look_to_the_beginning_of_the_last() {
        let mut watch = Watch::default();
        assert!(!watch.silent(&sign(1, 5), at(100), at(103), SILENCE));
        assert!(!watch.silent(&sign(1, 5), at(134), at(137), SILENCE));
        assert!(watch.silent(&sign(1, 5), at(136), at(136), SILENCE));
    }

    #[test]
    fn a_holder_stops_answering_before_anybody_else_may_try() {
        let term = Term::new(at(30));
        assert_eq!((term.silence, term.renewal), (at(33), at(10)));
        let lease = Lease::new(term);
        assert_eq!(lease.remaining(at(100)), None);
        lease.confirm(at(100));
        assert_eq!(lease.remaining(at(129)), Some(at(1)));
        assert_eq!(lease.remaining(at(130)), None);
        // A confirmation that comes out of order does not shorten it.
        lease.confirm(at(90));
        assert_eq!(lease.remaining(at(129)), Some(at(1)));
    }

    #[test]
    fn renewals_are_never_later_than_a_third_of_the_term() {
        let term = Term::new(at(30));
        for random in [0, 50, 99, u64::MAX] {
            let next = term.next_renewal(random);
            assert!(next <= at(10) && next >= at(9), "{next:?}");
        }
    }
}
