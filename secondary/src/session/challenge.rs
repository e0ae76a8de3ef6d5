//! What a client must prove with, from `from` to `cram` or `pkam` (reference page sections 2.1 to 2.3).

use std::time::Duration;

use tokio::time::Instant;

/// A challenge is good for so long.
const LIFETIME: Duration = Duration::from_mins(1);

/// A text that nobody has signed before: good once, for a minute, on its connection.
pub(crate) struct Challenge {
    /// `_<session>@alice:<proof>`, as the client got it.
    text: String,
    ends: Instant,
}

impl Challenge {
    /// A new one for the owner.
    pub(crate) fn new(text: String) -> Self {
        Self { text, ends: Instant::now() + LIFETIME }
    }

    /// The text, unless it is too old.
    pub(crate) fn redeem(self) -> Option<String> {
        (Instant::now() < self.ends).then_some(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_challenge_is_good_for_a_minute() {
        let challenge = Challenge::new("x".into());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(challenge.redeem().as_deref(), Some("x"));
        let challenge = Challenge::new("x".into());
        tokio::time::advance(LIFETIME).await;
        assert_eq!(challenge.redeem(), None);
    }
}
