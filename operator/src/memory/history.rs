//! What is remembered of one server's need: the peaks of a window in a few slices, whatever happened in it.

use jiff::{SignedDuration, Timestamp};

/// Slices of a window.
const SLICES: i64 = 12;
/// Slices that are kept: the one that has begun as well.
const KEPT: usize = 13;

/// What is remembered of one server's need, and of its last changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The memory that it has.
    pub current: u64,
    /// When it grew last.
    pub grown: Option<Timestamp>,
    /// When it shrank last.
    pub shrunk: Option<Timestamp>,
    window: SignedDuration,
    need: u64,
    /// Peaks by slice of the window; the slice of number `n` is at `n % KEPT`.
    peaks: [u64; KEPT],
    /// The number of the newest slice.
    newest: i64,
    /// Since when the need is known.
    known_since: Option<Timestamp>,
    /// Since when it is not heard of.
    lost_since: Option<Timestamp>,
}

impl History {
    /// Of a server that nothing is known of, for a window of this length.
    pub fn new(window: SignedDuration) -> Self {
        Self {
            current: 0,
            grown: None,
            shrunk: None,
            window: window.max(SignedDuration::from_secs(1)),
            need: 0,
            peaks: [0; KEPT],
            newest: i64::MIN,
            known_since: None,
            lost_since: None,
        }
    }

    /// The server needs `bytes`. Between two reports it needed no more than either said: it would have spoken up.
    pub fn needs(&mut self, bytes: u64, now: Timestamp) {
        if let Some(lost) = self.lost_since.take()
            && now.duration_since(lost) > self.slice()
        {
            self.known_since = None;
        }
        let meanwhile = if self.known_since.is_some() { self.need.max(bytes) } else { 0 };
        self.turn(now, meanwhile);
        self.known_since.get_or_insert(now);
        self.need = bytes;
        self.note(bytes);
    }

    /// The server was killed for want of memory: it needed all that it had.
    pub fn was_killed(&mut self, now: Timestamp) {
        self.turn(now, 0);
        self.note(self.current);
    }

    /// The server was given `bytes` once, and it is not known for what: that much it needs until a window says otherwise.
    pub fn needed_before(&mut self, bytes: u64, now: Timestamp) {
        self.turn(now, 0);
        self.note(bytes);
    }

    /// The server cannot be heard.
    pub fn lost(&mut self, now: Timestamp) {
        self.lost_since.get_or_insert(now);
    }

    /// What it needed last.
    pub fn need(&self) -> u64 {
        self.need
    }

    /// The most that it needed in the window that ends now.
    pub fn peak(&self, now: Timestamp) -> u64 {
        let number = self.number(now);
        let oldest = number.saturating_sub(SLICES);
        let kept = self.newest.saturating_sub(SLICES)..=self.newest;
        let peaks = kept.filter(|slice| *slice >= oldest).map(|slice| self.peaks[place(slice)]);
        peaks.max().unwrap_or_default().max(self.need)
    }

    /// When the need is known for a whole window; `None` where nothing is known.
    pub fn known_at(&self) -> Option<Timestamp> {
        self.known_since?.checked_add(self.window).ok()
    }

    /// When the oldest slice is forgotten next.
    pub fn next_slice(&self, now: Timestamp) -> Timestamp {
        let next = self.number(now).saturating_add(1).saturating_mul(self.slice_millis());
        Timestamp::from_millisecond(next).unwrap_or(now)
    }

    fn note(&mut self, bytes: u64) {
        let peak = &mut self.peaks[place(self.newest)];
        *peak = (*peak).max(bytes);
    }

    /// Goes on to the slice of `now`; those between get `meanwhile`.
    fn turn(&mut self, now: Timestamp, meanwhile: u64) {
        let number = self.number(now);
        if number <= self.newest {
            return;
        }
        let first = self.newest.saturating_add(1).max(number - SLICES);
        for slice in first..=number {
            self.peaks[place(slice)] = meanwhile;
        }
        self.newest = number;
    }

    fn number(&self, now: Timestamp) -> i64 {
        now.as_millisecond().div_euclid(self.slice_millis())
    }

    fn slice(&self) -> SignedDuration {
        SignedDuration::from_millis(self.slice_millis())
    }

    fn slice_millis(&self) -> i64 {
        i64::try_from(self.window.as_millis() / i128::from(SLICES)).unwrap_or(i64::MAX).max(1)
    }
}

fn place(slice: i64) -> usize {
    usize::try_from(slice.rem_euclid(SLICES + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("a time")
    }

    fn history() -> History {
        History::new(SignedDuration::from_secs(120))
    }

    #[test]
    fn a_peak_is_remembered_for_a_window_and_then_forgotten() {
        let mut history = history();
        history.needs(5, at(0));
        history.needs(9, at(10));
        history.needs(4, at(11));
        for second in [12, 60, 120, 129] {
            assert_eq!(history.peak(at(second)), 9, "after {second} s");
        }
        assert_eq!(history.peak(at(145)), 4);
    }

    #[test]
    fn between_two_reports_a_server_needs_what_they_say() {
        let mut history = history();
        history.needs(5, at(0));
        history.needs(3, at(100));
        assert_eq!(history.peak(at(200)), 5, "it may have needed 5 just before it said 3");
        assert_eq!(history.peak(at(240)), 3);
    }

    #[test]
    fn a_server_that_was_away_is_known_anew() {
        let mut history = history();
        history.needs(5, at(0));
        assert_eq!(history.known_at(), Some(at(120)));
        history.lost(at(10));
        history.needs(5, at(15));
        assert_eq!(history.known_at(), Some(at(120)), "a moment is no gap");
        history.lost(at(20));
        history.needs(5, at(90));
        assert_eq!(history.known_at(), Some(at(210)));
    }

    #[test]
    fn who_was_killed_for_want_of_memory_needed_all_that_it_had() {
        let mut history = history();
        history.current = 8;
        history.needs(3, at(0));
        history.was_killed(at(1));
        history.needs(2, at(2));
        assert_eq!((history.peak(at(3)), history.need()), (8, 2));
    }
}
