//! Which size a server should have. Pure: the history, the limits and the time are all that counts.

use jiff::{SignedDuration, Timestamp};

use super::history::History;
use super::ladder::{Limits, unbounded};
use super::policy::Policy;

/// What to do with a server's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, now.
    Stay,
    /// Give it this much, which is more than it has.
    Grow(u64),
    /// Take it down to this much.
    Shrink(u64),
}

/// A decision and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What to do now.
    pub decision: Decision,
    /// The size that the need asks for, inside the limits, whether or not the time has come.
    pub recommended: u64,
    /// The size that it would have if there were no cap, where that is more than the cap.
    pub beyond: Option<u64>,
    /// When to decide again though nothing was heard.
    pub again: Option<Timestamp>,
}

/// Decides. Growth goes straight to the step that fits the window's peak; a decrease needs a window in which the smaller
/// size would have been enough. Of each at most one in its cool-down.
pub fn decide(history: &History, limits: Limits, policy: &Policy, now: Timestamp) -> Decided {
    let (current, peak) = (history.current, history.peak(now));
    let size = policy.size_for(peak);
    let fitting = limits.fit(size);
    let beyond = fitting.is_none().then(|| unbounded(size));
    let wanted = fitting.unwrap_or(limits.cap);
    let decided = |decision, recommended, again| Decided { decision, recommended, beyond, again };

    if wanted > current {
        return match cooled(history.grown, policy.grow_cool_down, now) {
            Ok(()) => decided(Decision::Grow(wanted), wanted, None),
            Err(again) => decided(Decision::Stay, wanted, Some(again)),
        };
    }
    let smaller = smaller(current, peak, limits, policy);
    let Some(smaller) = smaller else {
        // Old slices may hold up what the present need does not.
        let may_fall = self::smaller(current, history.need(), limits, policy).is_some();
        return decided(Decision::Stay, current, may_fall.then(|| history.next_slice(now)));
    };
    let last = history.grown.max(history.shrunk);
    let ready = cooled(last, policy.shrink_cool_down, now).and_then(|()| {
        // What is above its cap goes as soon as it fits.
        if current > limits.cap {
            return Ok(());
        }
        match history.known_at() {
            Some(known) if known <= now => Ok(()),
            Some(known) => Err(known),
            None => Err(history.next_slice(now)),
        }
    });
    match ready {
        Ok(()) => decided(Decision::Shrink(smaller), smaller, None),
        Err(again) => decided(Decision::Stay, smaller, Some(again)),
    }
}

/// The smallest step below `current` that is enough for a need of `peak`, with room.
fn smaller(current: u64, peak: u64, limits: Limits, policy: &Policy) -> Option<u64> {
    limits.steps().find(|step| policy.may_shrink_to(*step, peak)).filter(|step| *step < current)
}

/// The share of its memory at which a server should speak up: where it needs another step than it needs now. In
/// ten-thousandths.
pub fn mark(history: &History, limits: Limits, policy: &Policy) -> u64 {
    let enough = limits.fit(policy.size_for(history.need())).unwrap_or(history.current);
    let size = enough.min(history.current);
    (u128::from(size) * u128::from(policy.grow_at) * 100)
        .checked_div(u128::from(history.current))
        .map_or(10_000, |share| u64::try_from(share).unwrap_or(10_000))
}

fn cooled(last: Option<Timestamp>, cool_down: SignedDuration, now: Timestamp) -> Result<(), Timestamp> {
    match last.and_then(|last| last.checked_add(cool_down).ok()) {
        Some(end) if end > now => Err(end),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MI: u64 = 1 << 20;
    const LIMITS: Limits = Limits { default: 6 * MI, cap: 24 * MI };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("a time")
    }

    fn policy() -> Policy {
        Policy { shrink_window: SignedDuration::from_mins(10), ..Policy::standard() }
    }

    /// A server that does what is decided at once.
    struct Server {
        policy: Policy,
        limits: Limits,
        history: History,
        changes: Vec<(i64, Decision)>,
    }

    impl Server {
        fn of(limits: Limits) -> Self {
            let policy = policy();
            let mut history = History::new(policy.shrink_window);
            history.current = limits.default;
            Self { policy, limits, history, changes: Vec::new() }
        }

        fn needs(&mut self, bytes: u64, second: i64) -> Decided {
            self.history.needs(bytes, at(second));
            self.look(second)
        }

        fn look(&mut self, second: i64) -> Decided {
            let decided = decide(&self.history, self.limits, &self.policy, at(second));
            match decided.decision {
                Decision::Stay => return decided,
                Decision::Grow(to) => (self.history.current, self.history.grown) = (to, Some(at(second))),
                Decision::Shrink(to) => (self.history.current, self.history.shrunk) = (to, Some(at(second))),
            }
            self.changes.push((second, decided.decision));
            decided
        }
    }

    #[test]
    fn a_server_that_needs_more_than_four_fifths_gets_the_step_that_fits_at_once() {
        let mut server = Server::of(LIMITS);
        server.needs(48 * MI / 10, 0);
        assert_eq!(server.changes, [], "exactly four fifths are enough");
        server.needs(11 * MI, 1);
        assert_eq!(server.changes, [(1, Decision::Grow(16 * MI))]);
    }

    #[test]
    fn it_grows_once_in_a_cool_down() {
        let mut server = Server::of(LIMITS);
        server.needs(5 * MI, 0);
        let decided = server.needs(9 * MI, 3);
        assert_eq!((decided.decision, decided.recommended), (Decision::Stay, 12 * MI));
        assert_eq!(decided.again, Some(at(10)));
        server.look(10);
        assert_eq!(server.changes, [(0, Decision::Grow(8 * MI)), (10, Decision::Grow(12 * MI))]);
    }

    #[test]
    fn at_the_cap_nothing_happens_but_that_it_is_said() {
        let mut server = Server::of(LIMITS);
        server.needs(18 * MI, 0);
        for second in 1..50 {
            let decided = server.needs(26 * MI, second);
            assert_eq!(decided.decision, Decision::Stay);
            assert_eq!((decided.recommended, decided.beyond), (24 * MI, Some(48 * MI)));
            assert_eq!(decided.again, None, "it waits to be told");
        }
        assert_eq!(server.changes.len(), 1);
    }

    #[test]
    fn it_shrinks_when_a_window_has_shown_that_less_is_enough() {
        let mut server = Server::of(LIMITS);
        server.needs(10 * MI, 0);
        for second in (60..1200).step_by(60) {
            server.needs(4 * MI, second);
        }
        let shrunk = server.changes.last().expect("a change");
        assert_eq!(shrunk.1, Decision::Shrink(6 * MI));
        // The window, and the slice that had begun: the peak may be of its end.
        assert!((600..=720).contains(&shrunk.0), "after {} s", shrunk.0);
    }

    #[test]
    fn it_is_not_shrunk_to_where_it_would_grow_again() {
        let mut server = Server::of(LIMITS);
        server.needs(6 * MI, 0);
        for second in (60..3600).step_by(60) {
            server.needs(48 * MI / 10, second);
        }
        assert_eq!(server.changes, [(0, Decision::Grow(8 * MI))], "6Mi would be used to the mark");
    }

    #[test]
    fn a_server_that_nothing_is_known_of_is_not_shrunk() {
        let mut server = Server::of(LIMITS);
        server.history.current = 24 * MI;
        server.needs(MI, 0);
        for second in (60..600).step_by(60) {
            server.needs(MI, second);
        }
        assert_eq!(server.changes, []);
        server.needs(MI, 601);
        assert_eq!(server.changes, [(601, Decision::Shrink(6 * MI))]);
    }

    #[test]
    fn a_cap_that_is_raised_releases_who_was_held_at_it() {
        let mut server = Server::of(Limits { cap: 8 * MI, ..LIMITS });
        server.needs(10 * MI, 0);
        assert_eq!(server.needs(10 * MI, 100).beyond, Some(16 * MI));
        server.limits = LIMITS;
        server.look(101);
        assert_eq!(server.changes, [(0, Decision::Grow(8 * MI)), (101, Decision::Grow(16 * MI))]);
    }

    #[test]
    fn a_cap_that_is_lowered_shrinks_when_the_need_allows() {
        let mut server = Server::of(LIMITS);
        server.needs(10 * MI, 0);
        server.limits = Limits { cap: 12 * MI, ..LIMITS };
        assert_eq!(server.needs(10 * MI, 1000).decision, Decision::Stay);
        for second in (1060..2000).step_by(60) {
            server.needs(7 * MI, second);
        }
        let (second, shrunk) = server.changes.last().expect("a change");
        assert_eq!(*shrunk, Decision::Shrink(12 * MI));
        assert!(*second < 1060 + 720, "after {second} s");
    }

    #[test]
    fn who_was_killed_for_want_of_memory_gets_the_next_step() {
        let mut server = Server::of(LIMITS);
        server.needs(2 * MI, 0);
        server.history.was_killed(at(1));
        server.look(1);
        server.history.was_killed(at(20));
        server.look(20);
        assert_eq!(server.changes, [(1, Decision::Grow(8 * MI)), (20, Decision::Grow(12 * MI))]);
    }

    #[test]
    fn a_recorded_run_climbs_to_the_cap_and_comes_back() {
        let mut server = Server::of(LIMITS);
        server.policy.grow_cool_down = SignedDuration::from_secs(3);
        server.policy.shrink_cool_down = SignedDuration::from_secs(10);
        server.history = History::new(SignedDuration::from_secs(30));
        server.history.current = 6 * MI;
        for line in include_str!("../../../docs/memory-run.txt").lines().filter(|line| !line.starts_with('#'))
        {
            let figures: Vec<f64> = line.split(' ').map(|it| it.parse().expect("a figure")).collect();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "kibibytes and seconds"
            )]
            let (second, need) = (figures[0] as i64, figures[2] as u64 * 1024);
            server.needs(need, second);
        }
        let decisions: Vec<_> = server.changes.iter().map(|(_, decision)| *decision).collect();
        // Heard of twice a second, it goes straight from 8Mi to 16Mi.
        let grown = [8, 16, 24].map(|size| Decision::Grow(size * MI));
        assert_eq!(decisions, [grown.as_slice(), &[Decision::Shrink(6 * MI)]].concat());
    }

    #[test]
    fn a_server_speaks_up_where_it_needs_another_step() {
        let mark_at = |current: u64, need: u64| {
            let mut history = History::new(policy().shrink_window);
            history.current = current;
            history.needs(need, at(0));
            mark(&history, LIMITS, &policy())
        };
        assert_eq!(mark_at(6 * MI, MI), 8_000);
        assert_eq!(mark_at(24 * MI, MI), 2_000, "at what 6Mi would be enough for");
        assert_eq!(mark_at(24 * MI, 5 * MI), 2_666);
        assert_eq!(mark_at(24 * MI, 30 * MI), 8_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_size_never_leaves_its_limits_and_changes_once_in_a_cool_down(
            default in 6_u64..16, more in 0_u64..64, needs in prop::collection::vec((0_u64..100, 1_i64..300), 1..200)
        ) {
            let mut server = Server::of(Limits { default: default * MI, cap: (default + more) * MI });
            let mut second = 0;
            for (need, after) in needs {
                second += after;
                let decided = server.needs(need * MI / 2, second);
                for size in [server.history.current, decided.recommended] {
                    prop_assert!((server.limits.default..=server.limits.cap).contains(&size));
                }
            }
            let times = |grown: bool| server.changes.iter()
                .filter(move |(_, decision)| matches!(decision, Decision::Grow(_)) == grown).map(|(at, _)| *at);
            for (grown, cool_down) in [(true, server.policy.grow_cool_down), (false, server.policy.shrink_cool_down)] {
                for (before, after) in times(grown).zip(times(grown).skip(1)) {
                    prop_assert!(after - before >= cool_down.as_secs(), "{before} and {after}");
                }
            }
        }

        #[test]
        fn more_need_never_means_less_memory(current in 6_u64..=24, less in 0_u64..40, more in 0_u64..40) {
            let recommended = |need: u64| {
                let mut history = History::new(policy().shrink_window);
                history.current = current * MI;
                history.needs(need * MI, at(0));
                decide(&history, LIMITS, &policy(), at(0)).recommended
            };
            prop_assert!(recommended(less.min(more)) <= recommended(less.max(more)));
        }

        #[test]
        fn constant_load_is_constant_size(need in 0_u64..24 * MI, pace in 1_i64..400) {
            let mut server = Server::of(LIMITS);
            for turn in 0..200 {
                server.needs(need, turn * pace);
            }
            prop_assert!(server.changes.len() <= 1, "{:?}", server.changes);
        }
    }
}
