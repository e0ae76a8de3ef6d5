//! What the server does without as its memory gets short, in this order.

/// The kernel kills at the limit; each step is taken before that, the cheapest first. Who is connected is served on all
/// of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is enough.
    #[default]
    Calm,
    /// The store's cache is as small as it can be.
    CachesShrunk,
    /// Nothing is read or fetched before somebody asks for it.
    NothingAhead,
    /// New connections wait a while.
    ConnectionsDelayed,
    /// New connections are answered AT0012.
    ConnectionsRefused,
    /// Large commands and answers are refused.
    LargeRefused,
}

/// From which percentage of the limit on, taken by what cannot be evicted.
const STEPS: [(u64, Level); 5] = [
    (70, Level::CachesShrunk),
    (76, Level::NothingAhead),
    (82, Level::ConnectionsDelayed),
    (87, Level::ConnectionsRefused),
    (92, Level::LargeRefused),
];

impl Level {
    /// Every level.
    pub const ALL: [Self; 6] = [
        Self::Calm,
        Self::CachesShrunk,
        Self::NothingAhead,
        Self::ConnectionsDelayed,
        Self::ConnectionsRefused,
        Self::LargeRefused,
    ];

    /// The level while so much of a limit is taken by what cannot be evicted. Without a limit all is calm.
    pub fn of(pinned: u64, limit: u64) -> Self {
        let reached = |percent: u64| limit > 0 && pinned / percent >= limit / 100;
        STEPS.iter().rev().find(|(percent, _)| reached(*percent)).map_or(Self::Calm, |(_, level)| *level)
    }

    /// For metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::CachesShrunk => "caches-shrunk",
            Self::NothingAhead => "nothing-ahead",
            Self::ConnectionsDelayed => "connections-delayed",
            Self::ConnectionsRefused => "connections-refused",
            Self::LargeRefused => "large-refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_done_without_comes_in_the_stated_order() {
        let mut seen: Vec<Level> = (0..=100).map(|percent| Level::of(percent << 16, 100 << 16)).collect();
        seen.dedup();
        assert_eq!(seen, Level::ALL);
        assert_eq!(Level::of(1 << 40, 0), Level::Calm, "there is no limit");
    }

    proptest! {
        #[test]
        fn more_pressure_never_gives_anything_back(limit in 1..(1_u64 << 40), one in 0..(1_u64 << 40), more in 0..(1_u64 << 40)) {
            prop_assert!(Level::of(one, limit) <= Level::of(one + more, limit));
        }
    }
}
