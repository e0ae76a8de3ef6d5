//! Where to look for an atSign's address: in what is ours first, then upstream.

use std::sync::Arc;

use atsign_protocol::AtSign;

use crate::address_book::AddressBook;
use crate::source::redis::Redis;
use crate::upstream::Upstream;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The atSign's server is here, `host:port`.
    Address(String),
    /// There is no such atSign.
    Unknown,
    /// The line was blank.
    Blank,
    /// Who knows is away, and nothing fresh is remembered. Nobody may be told that there is no such atSign.
    Unavailable,
}

/// Everything that this directory answers from.
#[derive(Debug)]
pub struct Addresses {
    own: Own,
    upstream: Option<Upstream>,
}

/// What is ours.
#[derive(Debug)]
pub enum Own {
    /// Addresses in memory, of a file or a cluster.
    Book(Arc<AddressBook>),
    /// Records of a Redis, asked one by one.
    Redis(Redis),
}

impl Addresses {
    /// Looks in `own`, then, for what is not there, in `upstream`.
    pub fn new(own: Own, upstream: Option<Upstream>) -> Self {
        Self { own, upstream }
    }

    /// What a client's line, trimmed, asks for.
    pub async fn find(&self, line: &str) -> Found {
        if line.is_empty() {
            return Found::Blank;
        }
        let Ok(at_sign) = AtSign::parse(line) else {
            return Found::Unknown;
        };
        let own = match &self.own {
            Own::Book(book) => book.look_up(&at_sign),
            Own::Redis(redis) => redis.find(&at_sign).await,
        };
        // Split horizon: while ours is away, upstream's answer might be another than ours.
        match (own, &self.upstream) {
            (Found::Unknown, Some(upstream)) => upstream.find(&at_sign).await,
            (found, _) => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address_book::Entries;

    fn addresses(loaded: bool) -> Addresses {
        let book = Arc::new(AddressBook::default());
        if loaded {
            book.replace(Entries::new());
        }
        book.set(&AtSign::parse("@alice").expect("an atSign"), "", Some("alice.example.com:6464"));
        book.set(&AtSign::parse("@🛠bob").expect("an atSign"), "", Some("bob.example.com:6464"));
        Addresses::new(Own::Book(book), None)
    }

    #[tokio::test]
    async fn an_address_is_found_with_and_without_its_at_in_any_case_and_in_unicode() {
        let addresses = addresses(true);
        for line in ["alice", "@alice", "ALICE", "@Al.ice"] {
            assert_eq!(addresses.find(line).await, Found::Address("alice.example.com:6464".into()), "{line}");
        }
        assert_eq!(addresses.find("🛠bob").await, Found::Address("bob.example.com:6464".into()));
    }

    #[tokio::test]
    async fn what_is_no_at_sign_is_unknown() {
        for line in ["@alice@bob", "al ice", "\u{fffd}", "@", &"x".repeat(200)] {
            assert_eq!(addresses(true).find(line).await, Found::Unknown, "{line:?}");
        }
        assert_eq!(addresses(true).find("").await, Found::Blank);
    }

    #[tokio::test]
    async fn before_the_source_was_read_nobody_is_told_that_there_is_no_such_at_sign() {
        assert_eq!(addresses(false).find("nobody").await, Found::Unavailable);
    }
}
