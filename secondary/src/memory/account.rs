//! Who has taken how much of the server's memory. Whoever wants to hold more than a trifle takes it here first, and gives
//! it back by dropping its lease.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::division::{LEAST_CACHE, Shares};
use super::gauge::Gauge;
use super::heap;
use super::lease::Lease;

/// So much of a command or answer is a trifle, for which nobody asks.
pub const SMALL: u64 = 4 << 10;

/// A command or answer is large from here on: it leaves room for small ones, and is the first to be refused.
pub const LARGE: u64 = 64 << 10;

/// Who takes memory, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// A connection of the owner.
    Connection,
    /// What the owner's clients asked for and what they are answered.
    Command,
    /// The same of others.
    Guest,
    /// A connection of somebody who has not proved to be the owner.
    Stranger,
}

/// What is taken at the moment, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By the owner's connections.
    pub connections: u64,
    /// By the owner's commands.
    pub commands: u64,
    /// By what is under way for others.
    pub guests: u64,
    /// By the connections of others.
    pub strangers: u64,
}

impl Taken {
    pub(super) fn of(&mut self, taker: Taker) -> &mut u64 {
        match taker {
            Taker::Connection => &mut self.connections,
            Taker::Command => &mut self.commands,
            Taker::Guest => &mut self.guests,
            Taker::Stranger => &mut self.strangers,
        }
    }

    /// Of the pool.
    pub fn pooled(&self) -> u64 {
        self.connections + self.commands + self.guests
    }
}

/// What the owner wanted since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The most that commands had taken at a time.
    pub commands: u64,
    /// The smallest limit at which nothing would have been delayed or refused; 0 where nothing was.
    pub limit: u64,
}

/// What the kernel counts: the account knows what was taken, and not what else there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What cannot be evicted.
    pub pinned: u64,
    /// The limit, 0 for none.
    pub limit: u64,
}

/// Memory is given only while what cannot be evicted stays below this percentage of the limit with it, and with all that
/// was promised to others and is not there yet: something large, and what is more than a trifle. The rest is for the pages
/// of the program's own code: the kernel takes them first, and reads them again and again where there is no room.
const LARGE_BELOW: u64 = 70;
const BELOW: u64 = 75;

/// The kernel is asked before something large is given, and before anything else once so many percent may be taken.
const ASK_FROM: u64 = 60;

/// What the kernel counted is good for so long then.
const FRESH: Duration = Duration::from_millis(2);

/// Where that is too much, free memory is given back to the kernel, at most this often.
const TRIM_AFTER: Duration = Duration::from_millis(50);

/// The account of one server.
#[derive(Debug)]
pub struct Account {
    state: Mutex<State>,
    /// Tells what the kernel counts; none where that is not of us alone.
    gauge: Option<Gauge>,
    /// Somebody gave memory back.
    pub(crate) freed: Notify,
    /// Somebody had to wait or was refused, or much was taken: the need is to be reckoned again.
    pub(super) news: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) shares: Shares,
    pub(super) taken: Taken,
    /// Of what commands and guests have taken, what they use: the kernel counts it. The rest is only promised.
    pub(super) filled: u64,
    pub(super) wanted: Wanted,
    /// Requests of the owner that were delayed or refused.
    refused: u64,
    /// Whether large commands are refused whatever is free.
    no_large: bool,
    /// What the kernel counted at the last look.
    seen: Seen,
    seen_at: Instant,
    trimmed_at: Instant,
    /// Something large was not given because of that.
    pub(super) pressed: bool,
    /// What was taken when there last was news of it.
    pub(super) told: u64,
}

impl Account {
    /// Nothing is taken yet. `gauge`: of our control group, if we have one.
    pub fn new(shares: Shares, gauge: Option<Gauge>) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            shares,
            taken: Taken::default(),
            filled: 0,
            wanted: Wanted::default(),
            refused: 0,
            no_large: false,
            seen: Seen::default(),
            seen_at: now,
            trimmed_at: now,
            pressed: false,
            told: 0,
        };
        Arc::new(Self { state: Mutex::new(state), gauge, freed: Notify::new(), news: Notify::new() })
    }

    /// Sets how much there is, and what the kernel counts. Leases stay, also where they are more than that.
    pub fn set(&self, shares: Shares, no_large: bool, seen: Seen) {
        let mut state = self.state();
        let same = state.shares == shares;
        (state.shares, state.no_large, state.seen) = (shares, no_large, seen);
        state.seen_at = Instant::now();
        drop(state);
        self.freed.notify_waiters();
        if !same {
            self.news.notify_one();
        }
    }

    /// Whether something large was not given since this was asked because too much is pinned.
    pub fn was_pressed(&self) -> bool {
        std::mem::take(&mut self.state().pressed)
    }

    /// How much there is.
    pub fn shares(&self) -> Shares {
        self.state().shares
    }

    /// The limit of all of it, 0 for none.
    pub fn limit(&self) -> u64 {
        self.state().seen.limit
    }

    /// What is taken now.
    pub fn taken(&self) -> Taken {
        self.state().taken
    }

    /// What was wanted since the last [`Self::rest`], and how much of the owner's work was delayed or refused ever.
    pub fn wanted(&self) -> (Wanted, u64) {
        let state = self.state();
        (state.wanted, state.refused)
    }

    /// Tells what was wanted, and begins anew.
    pub fn rest(&self) -> Wanted {
        let mut state = self.state();
        let commands = state.taken.commands;
        std::mem::replace(&mut state.wanted, Wanted { commands, limit: 0 })
    }

    /// Has the need reckoned again.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Waits until the need is worth reckoning again.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes so much at once, or nothing. Nobody is counted as refused.
    pub fn take(self: &Arc<Self>, taker: Taker, bytes: u64) -> Option<Lease> {
        let mut lease = self.lease(taker);
        lease.grow(bytes).then_some(lease)
    }

    /// Takes nothing yet.
    pub fn lease(self: &Arc<Self>, taker: Taker) -> Lease {
        Lease::new(Arc::clone(self), taker)
    }

    /// Notes that the owner's work was refused.
    pub fn refuse(&self, taker: Taker, bytes: u64) {
        self.state().miss(taker, 0, bytes);
        self.news.notify_one();
    }

    /// Notes how much work would have taken that was refused, and counted, before that was known.
    pub fn want(&self, taker: Taker, bytes: u64) {
        let mut state = self.state();
        let refused = state.refused;
        state.miss(taker, 0, bytes);
        state.refused = refused;
        drop(state);
        self.news.notify_one();
    }

    /// The state for somebody who wants a lease of `held` bytes to grow by `more`. Where memory may be short, the kernel is
    /// asked before that, and free memory given back where there is too little.
    pub(super) fn state_for(&self, taker: Taker, held: u64, more: u64) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let Some(gauge) =
            self.gauge.as_ref().filter(|_| State::is_large(taker, held, more) || state.asks(more))
        else {
            return state;
        };
        if state.seen_at.elapsed() > FRESH {
            state.see(gauge);
        }
        if state.is_crowded(taker, held, more) && state.trimmed_at.elapsed() > TRIM_AFTER {
            heap::trim();
            state.trimmed_at = Instant::now();
            state.see(gauge);
        }
        state
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn see(&mut self, gauge: &Gauge) {
        self.seen.pinned = gauge.read().pinned();
        self.seen_at = Instant::now();
    }

    /// Whether a lease of `held` bytes may grow by `more`.
    pub(super) fn may(&self, taker: Taker, held: u64, more: u64) -> bool {
        let Shares { pool, connections, one_command, guests, strangers, .. } = self.shares;
        let whole = held + more;
        let is_large = Self::is_large(taker, held, more);
        if is_large && self.no_large || self.is_crowded(taker, held, more) {
            return false;
        }
        let room = if is_large { pool - pool / 8 } else { pool };
        let fits = self.taken.pooled() + more + LEAST_CACHE <= room;
        match taker {
            Taker::Stranger => self.taken.strangers + more <= strangers,
            Taker::Connection => fits && self.taken.connections + more <= connections,
            Taker::Command => fits && whole <= one_command,
            Taker::Guest => fits && self.taken.guests + more <= guests,
        }
    }

    /// The same if nobody else had anything.
    pub(super) fn may_ever(&self, taker: Taker, held: u64, more: u64) -> bool {
        let alone = Self { taken: Taken::default(), filled: 0, seen: Seen::default(), ..*self };
        alone.may(taker, held, more)
    }

    fn is_large(taker: Taker, held: u64, more: u64) -> bool {
        held + more > LARGE && taker != Taker::Connection
    }

    /// Whether so much may be taken with `more` that the kernel is to be asked.
    fn asks(&self, more: u64) -> bool {
        self.seen.limit > 0 && self.pinned_with(more) > self.seen.limit / 100 * ASK_FROM
    }

    /// Whether so much more would bring what cannot be evicted too near to the limit. A trifle never does: who is
    /// connected is served.
    pub(super) fn is_crowded(&self, taker: Taker, held: u64, more: u64) -> bool {
        let below = match held + more {
            _ if self.seen.limit == 0 || taker == Taker::Connection => return false,
            ..=SMALL => return false,
            _ if Self::is_large(taker, held, more) => LARGE_BELOW,
            _ => BELOW,
        };
        self.pinned_with(more) > self.seen.limit / 100 * below
    }

    /// What cannot be evicted once everybody uses what was promised to him, and somebody `more`.
    fn pinned_with(&self, more: u64) -> u64 {
        let promised = (self.taken.commands + self.taken.guests).saturating_sub(self.filled);
        self.seen.pinned + promised + more
    }

    /// Counts what the owner had to do without, and what limit would have spared him that.
    pub(super) fn miss(&mut self, taker: Taker, held: u64, more: u64) {
        let whole = held + more;
        let beside = self.taken.pooled() + more + LEAST_CACHE;
        let pool = match taker {
            Taker::Connection => beside.max((self.taken.connections + more).saturating_mul(4) / 3),
            Taker::Command => (beside.saturating_mul(8) / 7).max(whole.saturating_mul(4) / 3),
            // Strangers buy no memory.
            Taker::Guest | Taker::Stranger => return,
        };
        self.refused += 1;
        self.wanted.limit = self.wanted.limit.max(Shares::limit_for(pool + 8));
        if self.is_crowded(taker, held, more) {
            let limit = self.pinned_with(more) / LARGE_BELOW * 100;
            self.wanted.limit = self.wanted.limit.max(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use tokio::time::Instant;

    use super::*;

    const SIX: u64 = 6 << 20;

    fn account() -> Arc<Account> {
        Account::new(Shares::of(SIX), None)
    }

    #[test]
    fn a_lease_is_given_back_when_it_is_dropped() {
        let account = account();
        let lease = account.take(Taker::Command, 1000).expect("room");
        assert_eq!(account.taken().commands, 1000);
        drop(lease);
        assert_eq!(account.taken(), Taken::default());
    }

    #[test]
    fn large_commands_leave_room_for_small_ones() {
        let account = account();
        let mut large = account.lease(Taker::Command);
        while large.grow(LARGE) {}
        let mut another = account.lease(Taker::Command);
        while another.grow(LARGE) {}
        assert!(account.take(Taker::Command, 2 * LARGE).is_none());
        assert!(account.take(Taker::Command, LARGE).is_some());
    }

    #[test]
    fn strangers_never_want_a_larger_limit_and_the_owner_does() {
        let account = account();
        for taker in [Taker::Stranger, Taker::Guest] {
            account.refuse(taker, 100 << 20);
        }
        assert_eq!(account.wanted(), (Wanted::default(), 0));
        account.refuse(Taker::Command, 3 << 20);
        let (wanted, refused) = account.wanted();
        assert_eq!(refused, 1);
        assert!(wanted.limit > SIX);
        let grown = Account::new(Shares::of(wanted.limit), None);
        assert!(grown.take(Taker::Command, 3 << 20).is_some(), "that limit is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_another_gives_back() {
        let account = account();
        let most = Shares::of(SIX).one_command;
        let first = account.take(Taker::Command, most).expect("room");
        let mut second = account.lease(Taker::Command);
        let (got, ()) = tokio::join!(second.grow_within(most, Duration::from_secs(5)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        });
        assert!(got);
        assert!(account.wanted().1 > 0, "it was delayed");
        let begun = Instant::now();
        let mut third = account.lease(Taker::Command);
        assert!(!third.grow_within(most, Duration::from_secs(5)).await);
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_never_be_given_is_refused_without_a_wait() {
        let account = account();
        let begun = Instant::now();
        let mut lease = account.lease(Taker::Command);
        assert!(!lease.grow_within(SIX, Duration::from_secs(5)).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn something_large_waits_until_enough_is_evicted_whatever_the_account_says() {
        let account = account();
        let crowded = Seen { pinned: SIX / 100 * 68, limit: SIX };
        account.set(Shares::of(SIX), false, crowded);
        assert!(account.take(Taker::Command, LARGE).is_some(), "that is not large");
        let mut large = account.lease(Taker::Command);
        let (got, ()) = tokio::join!(large.grow_within(SIX / 10, Duration::from_secs(5)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(account.was_pressed());
            account.set(Shares::of(SIX), false, Seen { pinned: SIX / 2, limit: SIX });
        });
        assert!(got);
        let mut another = account.lease(Taker::Command);
        assert!(!another.grow(SIX / 100 * 30), "what was promised counts");
        large.fill(SIX / 10);
        assert!(another.grow(SIX / 100 * 18), "what is used is seen by the kernel");
    }

    #[test]
    fn near_the_limit_only_trifles_are_given() {
        let account = account();
        account.set(Shares::of(SIX), false, Seen { pinned: SIX / 100 * BELOW, limit: SIX });
        assert!(account.take(Taker::Command, SMALL).is_some());
        for taker in [Taker::Command, Taker::Guest, Taker::Stranger] {
            assert!(account.take(taker, SMALL + 1).is_none(), "{taker:?}");
        }
        assert!(account.take(Taker::Connection, 2 * SMALL).is_some(), "it is connected already");
    }

    fn takers() -> impl Strategy<Value = Vec<(u8, u64, bool)>> {
        prop::collection::vec((0_u8..4, 0..(1_u64 << 20), any::<bool>()), 0..60)
    }

    proptest! {
        #[test]
        fn whatever_is_taken_and_given_back_no_share_is_exceeded(steps in takers(), limit in SIX..(4 * SIX)) {
            let shares = Shares::of(limit);
            let account = Account::new(shares, None);
            let mut leases = Vec::new();
            for (taker, bytes, give_back) in steps {
                let taker = [Taker::Connection, Taker::Command, Taker::Guest, Taker::Stranger][usize::from(taker)];
                leases.extend(account.take(taker, bytes));
                if give_back && !leases.is_empty() {
                    leases.remove(0);
                }
                let taken = account.taken();
                prop_assert!(taken.pooled() + LEAST_CACHE <= shares.pool);
                prop_assert!(taken.connections <= shares.connections);
                prop_assert!(taken.guests <= shares.guests && taken.strangers <= shares.strangers);
            }
            drop(leases);
            prop_assert_eq!(account.taken(), Taken::default());
        }
    }
}
