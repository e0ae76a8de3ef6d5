//! How much memory the server needs: not what it uses, for it uses what it has (DESIGN.md section 5).

use super::account::{Taken, Wanted};
use super::division::{PROGRAM, STRANGERS, Shares};
use super::gauge::Memory;

/// What happened longer ago than so many minutes says nothing about the need.
const MINUTES: usize = 10;

/// What happened in each of the last minutes.
#[derive(Clone, Debug, Default)]
struct Minutes {
    /// The present minute's first, then those of the ten before.
    values: [u64; MINUTES + 1],
    minute: u64,
}

impl Minutes {
    /// The value of the present minute.
    fn at(&mut self, minute: u64) -> &mut u64 {
        let passed = usize::try_from(minute.saturating_sub(self.minute)).unwrap_or(usize::MAX);
        let passed = passed.min(self.values.len());
        // The youngest stands in front.
        self.values.rotate_right(passed);
        self.values[..passed].fill(0);
        self.minute = self.minute.max(minute);
        &mut self.values[0]
    }

    fn sum(&self) -> u64 {
        self.values.iter().sum()
    }

    fn most(&self) -> u64 {
        self.values.iter().copied().max().unwrap_or(0)
    }
}

/// What the need is made of, remembered for ten minutes.
#[derive(Clone, Debug, Default)]
pub struct Need {
    /// Page cache that was evicted and read again for the owner, bytes a minute.
    refaulted: Minutes,
    /// The most that the owner's commands had taken.
    commands: Minutes,
    /// The smallest limit at which nothing of the owner's would have been delayed or refused.
    limit: Minutes,
    /// The kernel's count of refaults when it was last looked at.
    last: Option<u64>,
}

/// The present state, as far as the need depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Present {
    /// What the kernel counts.
    pub memory: Memory,
    /// What is taken.
    pub taken: Taken,
    /// What the owner wanted since the last look.
    pub wanted: Wanted,
    /// The store's own page cache, which stands in the anonymous memory and can be given up.
    pub cache: u64,
    /// The part of the store that the owner keeps coming back to.
    pub hot: u64,
    /// Size of the store's pages: no more of them can be cached.
    pub store: u64,
}

impl Need {
    /// Takes note of a look at the kernel's figures and at the account. `bulk`: since the last look the store was also
    /// read for a sync, a scan, a backup or somebody else than the owner, which count for nothing.
    pub fn note(&mut self, minute: u64, refaulted: u64, wanted: Wanted, bulk: bool) {
        let since = self.last.replace(refaulted).map_or(0, |last| refaulted.saturating_sub(last));
        *self.refaulted.at(minute) += if bulk { 0 } else { since };
        let commands = self.commands.at(minute);
        *commands = (*commands).max(wanted.commands);
        let limit = self.limit.at(minute);
        *limit = (*limit).max(wanted.limit);
    }

    /// The minute of the last look.
    pub fn minute(&self) -> u64 {
        self.commands.minute
    }

    /// The need, bytes. May be more than the limit.
    pub fn bytes(&self, present: &Present) -> u64 {
        let Present { memory, taken, wanted, cache, hot, store } = *present;
        // Strangers have a fixed place in it, full or empty; what else is under way for others is none of it.
        let others = (taken.strangers + taken.guests).saturating_sub(STRANGERS);
        let pinned = memory.pinned().saturating_sub(cache).saturating_sub(others);
        // What is accounted for, at what it may come to: so what comes and goes within that changes nothing.
        let commands = self.commands.most().max(wanted.commands);
        let accounted = PROGRAM + STRANGERS + taken.connections + commands;
        let cached = hot.max(self.refaulted.sum()).min(store + PROGRAM);
        let met = pinned.max(accounted) + cached;
        // Work that was delayed or refused is done once its limit's divided part is needed.
        let limit = self.limit.most().max(wanted.limit);
        met.max(Shares::divided(limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;
    const IDLE: u64 = PROGRAM + STRANGERS;

    fn present(anon: u64) -> Present {
        Present {
            memory: Memory { limit: 6 * MIB, anon, ..Memory::default() },
            store: 10 * MIB,
            ..Present::default()
        }
    }

    #[test]
    fn a_server_that_fills_caches_because_it_can_needs_no_more() {
        let mut filled = present(MIB + 3 * MIB);
        filled.cache = 3 * MIB;
        filled.memory.used = 6 * MIB;
        assert_eq!(Need::default().bytes(&filled), IDLE);
    }

    #[test]
    fn cache_that_the_owner_keeps_coming_back_to_is_needed_whether_there_or_evicted() {
        let need = Need::default();
        assert_eq!(need.bytes(&Present { hot: 2 * MIB, ..present(MIB) }), IDLE + 2 * MIB);
        assert_eq!(need.bytes(&Present { hot: 99 * MIB, ..present(MIB) }), IDLE + 10 * MIB + PROGRAM);
        let mut thrashing = Need::default();
        for second in 0..10 {
            thrashing.note(second / 60, second * MIB / 4, Wanted::default(), false);
        }
        assert_eq!(thrashing.bytes(&present(MIB)), IDLE + 9 * MIB / 4);
    }

    #[test]
    fn what_a_scan_or_a_stranger_made_the_kernel_read_again_is_not_needed() {
        let mut need = Need::default();
        need.note(0, 0, Wanted::default(), false);
        need.note(0, 5 * MIB, Wanted::default(), true);
        assert_eq!(need.bytes(&present(MIB)), IDLE);
    }

    #[test]
    fn work_that_was_refused_is_needed_for_ten_minutes() {
        let mut need = Need::default();
        let limit = Shares::limit_for(8 * MIB);
        need.note(5, 0, Wanted { commands: MIB, limit }, false);
        for minute in 5..=15 {
            need.note(minute, 0, Wanted::default(), false);
            assert_eq!(need.bytes(&present(MIB)), Shares::divided(limit), "minute {minute}");
        }
        need.note(16, 0, Wanted::default(), false);
        assert_eq!(need.bytes(&present(MIB)), IDLE);
    }

    #[test]
    fn constant_load_gives_a_constant_need_though_its_commands_come_and_go() {
        let mut need = Need::default();
        let mut seen = Vec::new();
        for second in 0..3600_u64 {
            // A command of a mebibyte every five minutes.
            let commands = if second % 300 == 0 { MIB } else { 0 };
            need.note(second / 60, 0, Wanted { commands, limit: 0 }, false);
            seen.push(need.bytes(&present(MIB + commands)));
        }
        seen.dedup();
        assert_eq!(seen, [IDLE + MIB]);
    }

    proptest! {
        #[test]
        fn strangers_who_keep_to_their_share_never_raise_it(
            program in 0..PROGRAM, strangers in 0..STRANGERS, guests in 0..MIB,
        ) {
            let mut crowded = present(program + strangers + guests);
            crowded.taken.strangers = strangers;
            crowded.taken.guests = guests;
            prop_assert_eq!(Need::default().bytes(&crowded), Need::default().bytes(&present(program)));
        }

        #[test]
        fn more_of_the_owners_connections_never_lower_it(one in 0..(4 * MIB), more in 0..(4 * MIB)) {
            let with = |connections| {
                let mut present = present(MIB);
                present.taken.connections = connections;
                Need::default().bytes(&present)
            };
            prop_assert!(with(one) <= with(one + more));
        }
    }
}
