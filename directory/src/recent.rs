//! What was answered lately: a bounded memory.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Answers by atSign, with their age. Two generations: when the young one is full it becomes the old one, and what was
/// old is forgotten. So it is bounded, and what is asked for again and again stays.
#[derive(Debug)]
pub struct Recent<T> {
    generation: usize,
    answers: Mutex<Generations<T>>,
}

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Box<str>, (T, Instant)>,
    old: HashMap<Box<str>, (T, Instant)>,
}

impl<T: Clone> Recent<T> {
    /// A memory of at most `capacity` answers.
    pub fn new(capacity: usize) -> Self {
        let empty = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { generation: (capacity / 2).max(1), answers: Mutex::new(empty) }
    }

    /// Remembers what was said of `name` at `now`.
    pub fn remember(&self, name: &str, answer: T, now: Instant) {
        let mut answers = self.answers.lock().expect("no holder panics");
        if answers.young.len() >= self.generation && !answers.young.contains_key(name) {
            answers.old = std::mem::take(&mut answers.young);
        }
        answers.young.insert(name.into(), (answer, now));
    }

    /// Forgets what was said of `name`.
    pub fn forget(&self, name: &str) {
        let mut answers = self.answers.lock().expect("no holder panics");
        answers.young.remove(name);
        answers.old.remove(name);
    }

    /// What was said of `name`, and how long before `now`.
    pub fn recall(&self, name: &str, now: Instant) -> Option<(T, Duration)> {
        let answers = self.answers.lock().expect("no holder panics");
        let (answer, at) = answers.young.get(name).or_else(|| answers.old.get(name))?;
        Some((answer.clone(), now.saturating_duration_since(*at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_latest_answer_with_its_age() {
        let (recent, start) = (Recent::new(10), Instant::now());
        recent.remember("alice", 1, start);
        recent.remember("alice", 2, start + Duration::from_secs(5));
        let later = start + Duration::from_secs(8);
        assert_eq!(recent.recall("alice", later), Some((2, Duration::from_secs(3))));
        recent.forget("alice");
        assert_eq!(recent.recall("alice", later), None);
    }

    #[test]
    fn names_without_end_do_not_make_it_grow_and_the_newest_are_kept() {
        let (recent, now) = (Recent::new(100), Instant::now());
        for number in 0..10_000 {
            recent.remember(&number.to_string(), number, now);
        }
        let answers = recent.answers.lock().expect("no panic");
        assert!(answers.young.len() + answers.old.len() <= 100);
        drop(answers);
        for number in 9_950..10_000 {
            assert_eq!(recent.recall(&number.to_string(), now).map(|(n, _)| n), Some(number));
        }
    }
}
