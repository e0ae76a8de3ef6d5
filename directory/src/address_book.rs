//! Which atSign's server is where, in memory.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use atsign_protocol::AtSign;

use crate::addresses::Found;

/// Where an entry comes from: `namespace/name` of a resource; empty for a line of a file.
pub type Origin = Box<str>;

/// Addresses, `host:port`, by atSign (without its `@`) and origin.
///
/// One map of three short strings: an entry costs about 200 bytes, whatever the resource behind it holds (the test
/// `memory` measures it). The origin is part of the key because two resources may claim one atSign for a moment, while
/// the operator settles whose it is; the going of one must not take the other's address with it.
pub type Entries = BTreeMap<(Box<str>, Origin), Box<str>>;

/// The entries that are answered from, and whether they are complete.
#[derive(Debug, Default)]
pub struct AddressBook {
    entries: RwLock<Entries>,
    loaded: AtomicBool,
    draining: AtomicBool,
}

impl AddressBook {
    /// The address of `at_sign`'s server, `host:port`.
    pub fn find(&self, at_sign: &AtSign) -> Option<String> {
        let entries = self.entries.read().expect("no writer panics");
        let first = (Box::from(at_sign.name()), Origin::default());
        let ((name, _), address) = entries.range(first..).next()?;
        (**name == *at_sign.name()).then(|| address.to_string())
    }

    /// What is to be answered to who asks for `at_sign`. Before the source was read, that is nothing: the address may
    /// be among what is still to come.
    pub fn look_up(&self, at_sign: &AtSign) -> Found {
        match self.find(at_sign) {
            Some(address) => Found::Address(address),
            None if self.loaded.load(Ordering::Relaxed) => Found::Unknown,
            None => Found::Unavailable,
        }
    }

    /// Takes `entries` in the place of all that was there; from now on the book is loaded.
    pub fn replace(&self, entries: Entries) {
        *self.entries.write().expect("no writer panics") = entries;
        self.loaded.store(true, Ordering::Relaxed);
    }

    /// Sets the address that `origin` gives for `at_sign`, or takes it out.
    pub fn set(&self, at_sign: &AtSign, origin: &str, address: Option<&str>) {
        let mut entries = self.entries.write().expect("no writer panics");
        let key = (Box::from(at_sign.name()), Box::from(origin));
        match address {
            Some(address) => entries.insert(key, address.into()),
            None => entries.remove(&key),
        };
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.read().expect("no writer panics").len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on the book is not ready: the process is about to end.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the source was read completely once, and the process is to stay.
    pub fn is_ready(&self) -> bool {
        self.loaded.load(Ordering::Relaxed) && !self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> AtSign {
        AtSign::parse(text).expect("an atSign")
    }

    #[test]
    fn an_address_is_found_by_its_whole_name_only() {
        let book = AddressBook::default();
        book.set(&at("@alice"), "a/alice", Some("a:1"));
        assert_eq!(book.find(&at("alice")).as_deref(), Some("a:1"));
        assert_eq!(book.find(&at("alic")), None);
        assert_eq!(book.find(&at("alices")), None);
    }

    #[test]
    fn of_two_origins_of_one_at_sign_the_going_of_one_leaves_the_other() {
        let book = AddressBook::default();
        book.set(&at("@alice"), "a/alice", Some("a:1"));
        book.set(&at("@alice"), "b/alice", Some("b:1"));
        book.set(&at("@alice"), "a/alice", None);
        assert_eq!(book.find(&at("alice")).as_deref(), Some("b:1"));
    }

    #[test]
    fn a_book_is_ready_once_its_source_was_read_and_until_it_drains() {
        let book = AddressBook::default();
        book.set(&at("@alice"), "", Some("a:1"));
        assert!(!book.is_ready());
        book.replace(Entries::new());
        assert!(book.is_ready() && book.is_empty());
        book.set_draining();
        assert!(!book.is_ready());
    }
}
