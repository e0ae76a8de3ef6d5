//! The live budget of one server: its limit, what is left of it, and what it needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::account::{Account, Seen, Taker};
use super::division::{LEAST_CACHE, Shares};
use super::gauge::{Gauge, Memory};
use super::lease::Lease;
use super::level::Level;
use super::need::{Need, Present};
use super::working_set::WorkingSet;

/// How long the server stays within what it was asked to shrink to, unless its limit changes.
const SHRUNK: Duration = Duration::from_mins(1);

/// The store's cache grows again only while what cannot be evicted is below this percentage of the limit: not so near to
/// where it is shrunk that the two take turns.
const ROOM_FOR_CACHE: u64 = 60;

/// The memory of one server.
#[derive(Debug)]
pub struct Budget {
    gauge: Gauge,
    account: Arc<Account>,
    /// The largest cache that the store may have, whatever there is.
    most_cache: u64,
    started: Instant,
    /// Since the last look the store was read for something that says nothing about the owner's working set.
    bulk: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    memory: Memory,
    need: Need,
    working_set: WorkingSet,
    level: Level,
    cache: u64,
    store: u64,
    shrunk: Option<Shrunk>,
}

/// A limit that the server keeps to on request, before it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shrunk {
    to: u64,
    /// The limit when it was asked.
    from: u64,
    until: Instant,
}

/// What a look at the kernel's figures asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The size that the store's cache may have, bytes.
    pub cache: u64,
    /// Pages of files are to be given back: the server keeps to a limit that is not set yet, and uses more.
    pub drop_pages: bool,
    /// What the server does without.
    pub level: Level,
    /// The limit, 0 for none.
    pub limit: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Something large waits for memory to be given back.
    pub pressed: bool,
}

/// What is told of the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What the kernel counts.
    pub memory: Memory,
    /// What is needed.
    pub needed: u64,
    /// Requests of the owner that were delayed or refused.
    pub refused: u64,
}

impl Budget {
    /// The budget of a server. `most_cache`: of the store's cache, whatever there is.
    pub fn new(gauge: Gauge, most_cache: Option<u64>) -> Arc<Self> {
        let memory = gauge.read();
        let shares = Shares::of(memory.limit);
        let most_cache = most_cache.unwrap_or(u64::MAX);
        let state = State {
            memory,
            need: Need::default(),
            working_set: WorkingSet::default(),
            level: Level::of(memory.pinned(), memory.limit),
            cache: shares.cache_beside(0).min(most_cache),
            store: 0,
            shrunk: None,
        };
        Arc::new(Self {
            account: Account::new(shares, gauge.of_group()),
            gauge,
            most_cache,
            started: Instant::now(),
            bulk: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    /// A budget without a limit.
    pub fn unlimited() -> Arc<Self> {
        Self::new(Gauge::none(), None)
    }

    /// Who has taken what.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// A lease that holds nothing yet.
    pub fn lease(&self, taker: Taker) -> Lease {
        self.account.lease(taker)
    }

    /// What the server does without.
    pub fn level(&self) -> Level {
        self.state().level
    }

    /// The size of the store's cache, bytes.
    pub fn cache(&self) -> u64 {
        self.state().cache
    }

    /// The limit that the server keeps to: the one that is set, or the one that it was asked to shrink to.
    pub fn limit(&self) -> u64 {
        self.state().limit()
    }

    /// The limit that is set; 0 for none.
    pub fn set_limit(&self) -> u64 {
        self.state().memory.limit
    }

    /// The owner used a key with so many bytes.
    pub fn used_key(&self, key: &str, bytes: usize) {
        let minute = self.minute();
        self.state().working_set.touch(key, bytes, minute);
    }

    /// The store is read for a sync, a scan, a backup or for somebody else than the owner.
    pub fn reads_in_bulk(&self) {
        self.bulk.store(true, Ordering::Relaxed);
    }

    /// The size of the store's pages: no more of it can be cached. Where it is behind what the kernel counts, a part of the
    /// cache looks like something that cannot be given up.
    pub fn set_store(&self, bytes: u64) {
        self.state().store = bytes;
    }

    /// Looks at the kernel's figures, and says what follows from them.
    pub fn look(&self) -> Look {
        let memory = self.gauge.read();
        let (taken, wanted) = (self.account.taken(), self.account.rest());
        let minute = self.minute();
        let mut state = self.state();
        if minute != state.need.minute() {
            state.working_set.forget(minute);
        }
        let bulk = self.bulk.swap(false, Ordering::Relaxed);
        state.need.note(minute, memory.refaulted, wanted, bulk);
        state.see(memory);
        let limit = state.limit();
        state.level = Level::of(memory.pinned(), limit);
        let shares = Shares::of(limit);
        let pressed = self.account.was_pressed();
        state.cache = self.cache_for(&state, shares, taken.pooled());
        if pressed {
            state.cache = state.cache.min(LEAST_CACHE);
        }
        let look = Look {
            cache: state.cache,
            drop_pages: state.shrunk.is_some_and(|shrunk| memory.used > shrunk.to / 10 * 9),
            level: state.level,
            limit,
            anon: memory.anon,
            pressed,
        };
        drop(state);
        let seen = Seen { pinned: memory.pinned(), limit };
        self.account.set(shares, look.level >= Level::LargeRefused, seen);
        look
    }

    fn cache_for(&self, state: &State, shares: Shares, taken: u64) -> u64 {
        let allowed = shares.cache_beside(taken).min(self.most_cache.max(LEAST_CACHE));
        let limit = state.limit();
        if state.level >= Level::CachesShrunk {
            return allowed.min(LEAST_CACHE);
        }
        let room = (limit / 100 * ROOM_FOR_CACHE).saturating_sub(state.memory.pinned());
        if limit == 0 { allowed } else { allowed.min(state.cache + room) }
    }

    /// Anonymous memory now.
    pub fn anonymous(&self) -> u64 {
        self.gauge.read().anon
    }

    /// Keeps to `to` bytes from now on, for a minute or until the limit changes.
    pub fn shrink(&self, to: u64) {
        let mut state = self.state();
        let from = state.memory.limit;
        state.shrunk = Some(Shrunk { to, from, until: Instant::now() + SHRUNK });
    }

    /// Whether it keeps to a limit that is not set yet.
    pub fn is_shrunk(&self) -> bool {
        self.state().shrunk.is_some()
    }

    /// The figures now. `fresh`: read from the kernel, and not as they were at the last look.
    pub fn figures(&self, fresh: bool) -> Figures {
        let minute = self.minute();
        let (wanted, refused) = self.account.wanted();
        let mut state = self.state();
        if fresh {
            state.see(self.gauge.read());
        }
        let present = Present {
            memory: state.memory,
            taken: self.account.taken(),
            wanted,
            cache: state.cache.min(state.store),
            hot: state.working_set.hot(minute),
            store: state.store,
        };
        Figures { memory: state.memory, needed: state.need.bytes(&present), refused }
    }

    fn minute(&self) -> u64 {
        self.started.elapsed().as_secs() / 60
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes note of the kernel's figures. Another limit, or its time, ends what was asked for.
    fn see(&mut self, memory: Memory) {
        let is_over = |shrunk: &Shrunk| shrunk.from != memory.limit || shrunk.until <= Instant::now();
        self.shrunk = self.shrunk.filter(|shrunk| !is_over(shrunk));
        self.memory = memory;
    }

    fn limit(&self) -> u64 {
        match self.shrunk {
            Some(Shrunk { to, .. }) if self.memory.limit == 0 || to < self.memory.limit => to,
            _ => self.memory.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A group of version 2 whose files a test writes.
    struct Group(tempfile::TempDir);

    impl Group {
        fn new(limit: u64, anon: u64) -> Self {
            let group = Self(tempfile::tempdir().expect("a folder"));
            group.set(limit, anon);
            group
        }

        fn set(&self, limit: u64, anon: u64) {
            self.write("memory.max", &limit.to_string());
            self.write("memory.current", &anon.to_string());
            self.write("memory.stat", &format!("anon {anon}\n"));
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).expect("write");
        }

        fn budget(&self) -> Arc<Budget> {
            Budget::new(Gauge::at(Path::new(self.0.path())), None)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_changes_is_divided_anew_at_the_next_look() {
        let group = Group::new(6 * MIB, MIB);
        let budget = group.budget();
        assert_eq!(budget.account().shares(), Shares::of(6 * MIB));
        group.set(24 * MIB, MIB);
        assert_eq!(budget.look().limit, 24 * MIB);
        assert_eq!(budget.account().shares(), Shares::of(24 * MIB));
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_takes_what_nobody_needs_and_gives_it_back_first() {
        let group = Group::new(6 * MIB, MIB);
        let budget = group.budget();
        let free = budget.look().cache;
        assert_eq!(free, Shares::of(6 * MIB).cache);
        let taken = budget.account().take(Taker::Command, Shares::of(6 * MIB).one_command).expect("room");
        assert!(budget.look().cache < free);
        drop(taken);
        assert_eq!(budget.look().cache, free);
        group.set(6 * MIB, 5 * MIB);
        assert_eq!(budget.look().cache, LEAST_CACHE);
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_to_what_it_was_asked_to_shrink_to_for_a_minute() {
        let group = Group::new(24 * MIB, 5 * MIB);
        let budget = group.budget();
        budget.look();
        budget.shrink(6 * MIB);
        let look = budget.look();
        assert_eq!((look.limit, look.drop_pages), (6 * MIB, false));
        group.write("memory.current", &(8 * MIB).to_string());
        assert!(budget.look().drop_pages, "page cache came back");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(budget.look().limit, 6 * MIB);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.look().limit, 24 * MIB, "no resize came");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_ends_the_shrinking() {
        let group = Group::new(24 * MIB, 5 * MIB);
        let budget = group.budget();
        budget.look();
        budget.shrink(6 * MIB);
        group.set(12 * MIB, 5 * MIB);
        assert_eq!(budget.look().limit, 12 * MIB);
        assert!(!budget.is_shrunk());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_work_of_the_owner_shows_in_the_need_at_once() {
        let group = Group::new(6 * MIB, MIB);
        let budget = group.budget();
        let before = budget.figures(true).needed;
        budget.account().refuse(Taker::Guest, 20 * MIB);
        assert_eq!(budget.figures(true).needed, before, "others do not count");
        budget.account().refuse(Taker::Command, 20 * MIB);
        let after = budget.figures(true);
        assert!(after.needed > 20 * MIB);
        assert_eq!(after.refused, 1);
        budget.look();
        assert_eq!(budget.figures(true).needed, after.needed, "and for some time");
    }
}
