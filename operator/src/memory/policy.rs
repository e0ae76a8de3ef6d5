//! When memory grows and shrinks. Every figure is a flag.

use clap::Args;
use jiff::SignedDuration;

/// When memory grows and shrinks.
#[derive(Clone, Debug, Args)]
pub struct Policy {
    /// Percent of its memory that a server may need before it is given more
    #[arg(long = "memory-grow-at", env = "ATSIGN_MEMORY_GROW_AT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(10..=99))]
    pub grow_at: u8,

    /// Seconds between two growths of one server
    #[arg(long = "memory-grow-cool-down", env = "ATSIGN_MEMORY_GROW_COOL_DOWN", default_value = "10", value_parser = seconds)]
    pub grow_cool_down: SignedDuration,

    /// Seconds for which a smaller size must have been enough before a server gets it
    #[arg(long = "memory-shrink-window", env = "ATSIGN_MEMORY_SHRINK_WINDOW", default_value = "3600", value_parser = seconds)]
    pub shrink_window: SignedDuration,

    /// Percent of its need that a smaller size must leave free
    #[arg(long = "memory-shrink-headroom", env = "ATSIGN_MEMORY_SHRINK_HEADROOM", default_value_t = 25, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub shrink_headroom: u8,

    /// Seconds between two decreases of one server, and between a growth and a decrease
    #[arg(long = "memory-shrink-cool-down", env = "ATSIGN_MEMORY_SHRINK_COOL_DOWN", default_value = "600", value_parser = seconds)]
    pub shrink_cool_down: SignedDuration,

    /// Seconds for which a node may put a resize off before a smaller one is tried
    #[arg(long = "memory-deferred-after", env = "ATSIGN_MEMORY_DEFERRED_AFTER", default_value = "120", value_parser = seconds)]
    pub deferred_after: SignedDuration,

    /// Seconds for which a node may say nothing of a resize before the status tells
    #[arg(long = "memory-silent-after", env = "ATSIGN_MEMORY_SILENT_AFTER", default_value = "60", value_parser = seconds)]
    pub silent_after: SignedDuration,

    /// Seconds after which a pod that no node takes is made smaller, so that it starts
    #[arg(long = "memory-unschedulable-after", env = "ATSIGN_MEMORY_UNSCHEDULABLE_AFTER", default_value = "30", value_parser = seconds)]
    pub unschedulable_after: SignedDuration,

    /// Seconds after which a server that was moved to another node may be moved again
    #[arg(long = "memory-move-again-after", env = "ATSIGN_MEMORY_MOVE_AGAIN_AFTER", default_value = "3600", value_parser = seconds)]
    pub move_again_after: SignedDuration,

    /// Seconds after which a size that was refused is tried again
    #[arg(long = "memory-retry-after", env = "ATSIGN_MEMORY_RETRY_AFTER", default_value = "600", value_parser = seconds)]
    pub retry_after: SignedDuration,

    /// Seconds for which a server that is content is not heard of
    #[arg(long = "memory-wait", env = "ATSIGN_MEMORY_WAIT", default_value = "600", value_parser = seconds)]
    pub wait: SignedDuration,

    /// Servers of one node that are resized at the same time
    #[arg(long = "memory-resizes-per-node", env = "ATSIGN_MEMORY_RESIZES_PER_NODE", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub resizes_per_node: u16,
}

impl Policy {
    /// The memory with which a need of `bytes` is below the mark at which more is given.
    pub fn size_for(&self, bytes: u64) -> u64 {
        saturating(u128::from(bytes) * 100 / u128::from(self.grow_at.max(1)))
    }

    /// The need at which a server of `size` is given more.
    pub fn mark_of(&self, size: u64) -> u64 {
        saturating(u128::from(size) * u128::from(self.grow_at) / 100)
    }

    /// The most that a server may need and be shrunk to `size`.
    pub fn shrinks_to(&self, size: u64) -> u64 {
        let kept = u128::from(size - size / 16) * 100;
        saturating(kept / (100 + u128::from(self.shrink_headroom)))
    }

    /// Whether a server that needed `peak` may be shrunk to `size`. A sixteenth more than the headroom must be free, so
    /// that what was given back is not asked for at once.
    pub fn may_shrink_to(&self, size: u64, peak: u64) -> bool {
        peak <= self.shrinks_to(size)
    }
}

fn saturating(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn seconds(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<u32>() {
        Ok(seconds @ 1..=604_800) => Ok(SignedDuration::from_secs(seconds.into())),
        _ => Err("seconds, from 1 to 604800".to_owned()),
    }
}

#[cfg(test)]
impl Policy {
    /// What the flags' defaults say.
    pub(crate) fn standard() -> Self {
        use clap::Parser as _;
        crate::options::Options::parse_from(["atsign-operator"]).memory
    }
}
