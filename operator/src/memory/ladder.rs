//! The sizes that a server may have: few of them, and round, so that a person recognises them.

/// What a tier and an AtSign allow, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What a server starts with, and never has less of.
    pub default: u64,
    /// The most that it may have.
    pub cap: u64,
}

impl Limits {
    /// The steps, smallest first: the default, 2ⁿ and 3·2ⁿ between (8Mi, 12Mi, 16Mi …), the cap.
    pub fn steps(self) -> impl Iterator<Item = u64> {
        let between = (12..62).flat_map(|power| [1 << power, 3 << (power - 1)]);
        let between = between.filter(move |step| (self.default + 1..self.cap).contains(step));
        let cap = (self.cap > self.default).then_some(self.cap);
        std::iter::once(self.default).chain(between).chain(cap)
    }

    /// The smallest step of at least `bytes`; `None` where the cap is less.
    pub fn fit(self, bytes: u64) -> Option<u64> {
        self.steps().find(|step| *step >= bytes)
    }

    /// The largest step between `above` and `below`, both excluded.
    pub fn between(self, above: u64, below: u64) -> Option<u64> {
        self.steps().filter(|step| *step > above && *step < below).last()
    }
}

/// The size that an unbounded ladder would have for `bytes`: what a server at its cap wants.
pub fn unbounded(bytes: u64) -> u64 {
    Limits { default: 1 << 12, cap: 1 << 62 }.fit(bytes).unwrap_or(1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MI: u64 = 1 << 20;

    fn mebibytes(default: u64, cap: u64) -> Vec<u64> {
        Limits { default: default * MI, cap: cap * MI }.steps().map(|step| step / MI).collect()
    }

    #[test]
    fn the_steps_are_round_and_few() {
        assert_eq!(mebibytes(6, 24), [6, 8, 12, 16, 24]);
        assert_eq!(mebibytes(8, 64), [8, 12, 16, 24, 32, 48, 64]);
        assert_eq!(mebibytes(7, 20), [7, 8, 12, 16, 20]);
        assert_eq!(mebibytes(6, 6), [6]);
    }

    #[test]
    fn a_size_goes_straight_to_the_step_that_fits() {
        let limits = Limits { default: 6 * MI, cap: 24 * MI };
        assert_eq!(limits.fit(1), Some(6 * MI));
        assert_eq!(limits.fit(12 * MI + 1), Some(16 * MI));
        assert_eq!(limits.fit(24 * MI + 1), None);
        assert_eq!(limits.between(6 * MI, 24 * MI), Some(16 * MI));
        assert_eq!(limits.between(6 * MI, 8 * MI), None);
        assert_eq!(unbounded(25 * MI), 32 * MI);
    }
}
