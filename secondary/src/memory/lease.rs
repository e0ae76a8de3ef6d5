//! Memory that somebody has taken of the account.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::account::{Account, Taker};

/// Memory that somebody has taken.
#[derive(Debug)]
pub struct Lease {
    account: Arc<Account>,
    taker: Taker,
    bytes: u64,
    /// Of these, what is used.
    filled: u64,
}

impl Lease {
    pub(super) fn new(account: Arc<Account>, taker: Taker) -> Self {
        Self { account, taker, bytes: 0, filled: 0 }
    }

    /// How much.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Tells how much of it is used by now; the rest is kept free for it.
    pub fn fill(&mut self, filled: u64) {
        let filled = filled.min(self.bytes);
        if filled != self.filled && matches!(self.taker, Taker::Command | Taker::Guest) {
            let mut state = self.account.state();
            state.filled = state.filled - self.filled + filled;
            self.filled = filled;
        }
    }

    /// Takes more at once, or nothing.
    pub fn grow(&mut self, more: u64) -> bool {
        let mut state = self.account.state_for(self.taker, self.bytes, more);
        if !state.may(self.taker, self.bytes, more) {
            return false;
        }
        *state.taken.of(self.taker) += more;
        state.wanted.commands = state.wanted.commands.max(state.taken.commands);
        let taken = state.taken.connections + state.taken.commands;
        let is_news = taken.abs_diff(state.told) > state.shares.pool / 16;
        if is_news {
            state.told = taken;
        }
        drop(state);
        self.bytes += more;
        if is_news {
            self.account.news.notify_one();
        }
        true
    }

    /// Takes more, and waits for it; false where there is not enough in time, or never can be. May be dropped while it
    /// waits; nothing is taken then.
    pub async fn grow_within(&mut self, more: u64, patience: Duration) -> bool {
        if self.grow(more) {
            return true;
        }
        // What nobody can be given in this limit is not worth a wait.
        let hopeless = {
            let mut state = self.account.state();
            state.miss(self.taker, self.bytes, more);
            state.pressed |= state.is_crowded(self.taker, self.bytes, more);
            !state.may_ever(self.taker, self.bytes, more)
        };
        self.account.news.notify_one();
        if hopeless {
            return false;
        }
        let until = Instant::now() + patience;
        loop {
            let account = Arc::clone(&self.account);
            let freed = account.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.grow(more) {
                return true;
            }
            if timeout(until.saturating_duration_since(Instant::now()), freed).await.is_err() {
                return false;
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let mut state = self.account.state();
            *state.taken.of(self.taker) -= self.bytes;
            state.filled -= self.filled;
            drop(state);
            self.account.freed.notify_waiters();
        }
    }
}
