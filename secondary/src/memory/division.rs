//! How a memory limit is divided. Pure: the same limit gives the same shares.

/// Of the limit, what is divided; the rest is for what nobody accounts for.
const DIVIDED_PERCENT: u64 = 90;

/// The program itself: its data, its threads, its page tables, an idle store.
pub const PROGRAM: u64 = 1280 << 10;

/// Everybody who has not proved to be the owner, however large the limit: strangers buy no memory.
pub const STRANGERS: u64 = 512 << 10;

/// What an idle connection of the owner takes, TLS and kernel included.
pub const CONNECTION: u64 = 10 << 10;

/// What another takes. Beside forty of them the strangers' share has room for a dozen handshakes.
pub const STRANGER: u64 = 8 << 10;

/// The store's page cache is never smaller: SQLite needs a few pages to walk its trees.
pub const LEAST_CACHE: u64 = 64 << 10;

/// Where no limit is known, the server lives as if this were it.
pub const WITHOUT_LIMIT: u64 = 64 << 20;

/// There strangers buy nothing, so they may be as many as the protocol's default allows.
pub const STRANGERS_WITHOUT_LIMIT: u64 = 4 << 20;

/// What each part of the server may take, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The program itself.
    pub program: u64,
    /// Connections that have not proved to be the owner's, and what they send.
    pub strangers: u64,
    /// Left alone: what falls between allocations, pages on their way to the disk.
    pub reserve: u64,
    /// The owner's connections, commands and answers under way, and the store's cache: who needs more takes it of
    /// the others' free part.
    pub pool: u64,
    /// Of the pool, what connections may take. The rest is for what they ask.
    pub connections: u64,
    /// Of the pool, what one command or answer may take, so that small ones always find room beside it.
    pub one_command: u64,
    /// Of the pool, what is under way for others than the owner.
    pub guests: u64,
    /// Of the pool, what the store's cache may take while nobody else needs it.
    pub cache: u64,
}

impl Shares {
    /// The shares of a limit; 0 for none.
    pub fn of(limit: u64) -> Self {
        let strangers = if limit == 0 { STRANGERS_WITHOUT_LIMIT } else { STRANGERS };
        let limit = if limit == 0 { WITHOUT_LIMIT } else { limit };
        let mut left = Self::divided(limit);
        let mut take = |most: u64| {
            let taken = most.min(left);
            left -= taken;
            taken
        };
        // In a limit that is too small for all of it the first are served first.
        let program = take(PROGRAM);
        let strangers = take(strangers);
        let reserve = take(limit / 16);
        let pool = take(u64::MAX);
        Self {
            program,
            strangers,
            reserve,
            pool,
            connections: pool / 4 * 3,
            one_command: pool / 4 * 3,
            guests: pool / 4,
            cache: (pool / 4).max(LEAST_CACHE.min(pool)),
        }
    }

    /// The smallest limit whose pool is so large.
    pub fn limit_for(pool: u64) -> u64 {
        // What divides it, in eightieths: nine tenths but for a sixteenth.
        let limit = (pool + PROGRAM + STRANGERS).saturating_mul(80) / 67;
        // Both are rounded to whole hundredths above.
        limit.saturating_add(400)
    }

    /// Of a limit, what is divided.
    pub fn divided(limit: u64) -> u64 {
        limit / 100 * DIVIDED_PERCENT
    }

    /// The size for the store's cache while others have taken so much of the pool: what they leave, but for an eighth
    /// that they find at once.
    pub fn cache_beside(&self, taken: u64) -> u64 {
        let free = self.pool.saturating_sub(taken).saturating_sub(self.pool / 8);
        free.clamp(LEAST_CACHE.min(self.cache), self.cache)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn six_mebibytes_are_enough_for_two_hundred_connections_and_a_command_beside() {
        let shares = Shares::of(6 * MIB);
        assert!(shares.connections >= 200 * CONNECTION, "{shares:?}");
        assert!(shares.pool - 200 * CONNECTION >= LEAST_CACHE + MIB / 2, "{shares:?}");
    }

    #[test]
    fn without_a_limit_there_are_shares_too() {
        let (none, large) = (Shares::of(0), Shares::of(WITHOUT_LIMIT));
        assert!(none.strangers >= 200 * STRANGER);
        assert_eq!(none.strangers + none.pool, large.strangers + large.pool);
    }

    proptest! {
        #[test]
        fn nine_tenths_of_the_limit_are_divided_and_no_more(limit in 1..(1_u64 << 40)) {
            let Shares { program, strangers, reserve, pool, .. } = Shares::of(limit);
            let sum = program + strangers + reserve + pool;
            prop_assert_eq!(sum, limit / 100 * 90);
        }

        #[test]
        fn more_memory_makes_no_share_smaller(limit in 1..(1_u64 << 40), more in 0..(1_u64 << 40)) {
            let (small, large) = (Shares::of(limit), Shares::of(limit + more));
            let parts = |shares: Shares| {
                [shares.program, shares.strangers, shares.reserve, shares.pool, shares.connections,
                 shares.one_command, shares.guests, shares.cache]
            };
            for (small, large) in parts(small).into_iter().zip(parts(large)) {
                prop_assert!(small <= large);
            }
        }

        #[test]
        fn strangers_get_no_more_however_large_the_limit(limit in (4 * MIB)..(1_u64 << 40)) {
            prop_assert_eq!(Shares::of(limit).strangers, STRANGERS);
        }

        #[test]
        fn the_limit_for_a_pool_has_it_and_little_more(pool in 0..(1_u64 << 40)) {
            let found = Shares::of(Shares::limit_for(pool)).pool;
            prop_assert!(found >= pool && found < pool + 1024, "{found} for {pool}");
        }

        #[test]
        fn parts_of_the_pool_fit_into_it(limit in 1..(1_u64 << 40), taken in 0..(1_u64 << 41)) {
            let shares = Shares::of(limit);
            for part in [shares.connections, shares.one_command, shares.guests, shares.cache] {
                prop_assert!(part <= shares.pool);
            }
            let cache = shares.cache_beside(taken);
            prop_assert!(cache <= shares.cache);
            prop_assert!(cache <= LEAST_CACHE || cache + taken <= shares.pool);
        }
    }
}
