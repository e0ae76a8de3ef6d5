//! Which part of the store the owner keeps coming back to: a sample of 2 KiB of the keys that he reads and writes.
//!
//! A key is in the sample if its hash begins with so many zero bits; when the sample is full, it takes one bit more. So
//! it is as good for ten keys as for a million.

use std::hash::{BuildHasher as _, RandomState};

/// Places in the table: 2 KiB.
const PLACES: usize = 256;

/// A key is looked for in so many places.
const NEAR: usize = 16;

/// Minutes within which the second use counts.
const WINDOW: u8 = 10;

/// A key's row lies on a page of its own, as far as the cache is concerned.
const PAGE: u64 = 4096;

/// What is known of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Of its hash; 0 for no key.
    hash: u32,
    /// Pages of its value behind the first.
    pages: u16,
    /// The minutes of its last use and of the one before, of 256.
    last: u8,
    before: u8,
}

const _: () = assert!(size_of::<[Place; PLACES]>() == 2048);

/// The sample.
#[derive(Debug)]
pub struct WorkingSet {
    places: Box<[Place; PLACES]>,
    /// High bits of a hash that are zero in the sample.
    bits: u32,
    hasher: RandomState,
}

impl Default for WorkingSet {
    fn default() -> Self {
        Self { places: Box::new([Place::default(); PLACES]), bits: 0, hasher: RandomState::new() }
    }
}

impl WorkingSet {
    /// Notes that a key with so many bytes was used in a minute since some beginning.
    pub fn touch(&mut self, key: &str, bytes: usize, minute: u64) {
        let hash = self.hasher.hash_one(key);
        // Never 0, which means no key.
        let chosen_by = u32::try_from(hash >> 32).unwrap_or(u32::MAX) | 1;
        let now = of_256(minute);
        while chosen_by.leading_zeros() >= self.bits {
            if let Some(place) = self.place(hash, chosen_by) {
                let place = &mut self.places[place];
                place.before =
                    if place.hash == chosen_by { place.last } else { now.wrapping_sub(WINDOW + 1) };
                place.last = now;
                place.hash = chosen_by;
                place.pages = u16::try_from(bytes as u64 / PAGE).unwrap_or(u16::MAX);
                return;
            }
            self.thin();
        }
    }

    /// Bytes of cache that were used at least twice in the last ten minutes.
    pub fn hot(&self, minute: u64) -> u64 {
        let now = of_256(minute);
        let is_hot = |place: &&Place| place.hash != 0 && now.wrapping_sub(place.before) <= WINDOW;
        let pages: u64 = self.places.iter().filter(is_hot).map(|place| u64::from(place.pages) + 1).sum();
        (pages * PAGE) << self.bits
    }

    /// Forgets what was not used for ten minutes. Call it once a minute: minutes are counted to 256.
    pub fn forget(&mut self, minute: u64) {
        let now = of_256(minute);
        for place in self.places.iter_mut().filter(|place| now.wrapping_sub(place.last) > WINDOW) {
            *place = Place::default();
        }
        let kept = self.places.iter().filter(|place| place.hash != 0).count();
        if kept < PLACES / 8 {
            self.bits = self.bits.saturating_sub(1);
        }
    }

    /// Where a key is or may be; `None` where there is no room for it.
    fn place(&self, hash: u64, chosen_by: u32) -> Option<usize> {
        // By bits that the sample does not choose by.
        let first = usize::from(of_256(hash));
        let near = || (first..first + NEAR).map(|place| place % PLACES);
        near()
            .find(|place| self.places[*place].hash == chosen_by)
            .or_else(|| near().find(|place| self.places[*place].hash == 0))
    }

    /// Halves the sample.
    fn thin(&mut self) {
        self.bits += 1;
        for place in self.places.iter_mut().filter(|place| place.hash.leading_zeros() < self.bits) {
            *place = Place::default();
        }
    }
}

/// The lowest eight bits.
fn of_256(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(set: &mut WorkingSet, keys: u64, minute: u64) {
        for key in 0..keys {
            set.touch(&format!("key{key}.wavi@alice"), 200, minute);
        }
    }

    #[test]
    fn what_is_read_once_is_not_hot_however_much_it_is() {
        let mut set = WorkingSet::default();
        read_all(&mut set, 50_000, 7);
        assert_eq!(set.hot(7), 0);
    }

    #[test]
    fn what_is_read_twice_within_ten_minutes_is_hot_and_cools_down() {
        for keys in [10, 200, 1000, 50_000] {
            let mut set = WorkingSet::default();
            for minute in [3, 9] {
                set.forget(minute);
                read_all(&mut set, keys, minute);
            }
            let exact = keys * PAGE;
            let hot = set.hot(9);
            assert!(hot.abs_diff(exact) <= exact / 2, "{keys} keys: {hot} instead of about {exact}");
            assert!(set.hot(13) > 0);
            assert_eq!(set.hot(14), 0, "the first of the two uses is older than ten minutes");
        }
    }

    #[test]
    fn a_use_once_in_a_quarter_of_an_hour_is_never_hot() {
        let mut set = WorkingSet::default();
        for minute in 0..600 {
            set.forget(minute);
            if minute % 15 == 0 {
                read_all(&mut set, 100, minute);
            }
            assert_eq!(set.hot(minute), 0, "minute {minute}");
        }
    }

    #[test]
    fn large_values_count_with_all_their_pages() {
        let mut set = WorkingSet::default();
        for _ in 0..2 {
            set.touch("photo@alice", 1 << 20, 1);
        }
        assert_eq!(set.hot(1), (1 << 20) + PAGE);
    }
}
