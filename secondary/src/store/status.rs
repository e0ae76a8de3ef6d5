//! What becomes of the store, for those who ask: the admin port, the log, the usage figures.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::epoch::takeover::Progress;

/// A line in the log at most so often while nothing but time changes.
const REPEATED: Duration = Duration::from_secs(10);

/// Where the store stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing is known yet.
    #[default]
    Starting,
    /// It is not ours yet.
    Claiming(Progress),
    /// It is ours and answers.
    Serving {
        /// Our epoch.
        epoch: u64,
    },
    /// It is ours and its volume fails; it is tried again.
    Failing {
        /// Our epoch.
        epoch: u64,
        /// What the volume says.
        reason: String,
    },
    /// It is ours and damaged: it is read as far as it can be, and nothing is written.
    Damaged {
        /// Our epoch.
        epoch: u64,
        /// What was found.
        reason: String,
    },
    /// It is being closed, or somebody else took it.
    Ended,
}

impl State {
    /// One sentence for a person.
    pub fn sentence(&self) -> String {
        match self {
            Self::Starting => "the store is being looked at".to_owned(),
            Self::Claiming(Progress::Waiting { number, holder, since, silent }) => {
                let since = jiff::Timestamp::from_second(*since).unwrap_or_default();
                let silent = silent.as_secs();
                format!("the store is held by {holder} since {since} (epoch {number}, silent for {silent} s)")
            }
            Self::Claiming(Progress::Copying { from }) => {
                format!("the store of epoch {from} is being copied")
            }
            Self::Claiming(Progress::NeedsSpace { needed, available }) => format!(
                "TakeoverNeedsSpace: the copy of the store needs {needed} bytes and the volume has {available}"
            ),
            Self::Claiming(Progress::Failing(reason)) => format!("the volume fails: {reason}"),
            Self::Serving { epoch } => format!("the store is ours (epoch {epoch})"),
            Self::Failing { reason, .. } => format!("the store fails: {reason}"),
            Self::Damaged { reason, .. } => damaged(reason),
            Self::Ended => "the store is closed".to_owned(),
        }
    }

    /// The epoch under which it is ours; 0 while it is not.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Serving { epoch } | Self::Failing { epoch, .. } | Self::Damaged { epoch, .. } => *epoch,
            Self::Starting | Self::Claiming(_) | Self::Ended => 0,
        }
    }
}

/// What whoever wants to write is told, and whoever asks why the server is not ready.
pub(super) fn damaged(reason: &str) -> String {
    format!("the store is damaged and only read until a backup is restored: {reason}")
}

/// The state, shared between the store's thread and those who ask.
#[derive(Debug, Default)]
pub struct Status {
    inner: Mutex<(State, Option<Instant>)>,
    activated: watch::Sender<bool>,
}

impl Status {
    /// The state now.
    pub fn state(&self) -> State {
        self.lock().0.clone()
    }

    /// Sets it, and logs it where it says something new.
    pub fn set(&self, state: State) {
        let mut inner = self.lock();
        let same = std::mem::discriminant(&inner.0) == std::mem::discriminant(&state);
        let quiet = same && (inner.0 == state || inner.1.is_some_and(|last| last.elapsed() < REPEATED));
        if !quiet {
            match &state {
                State::Damaged { .. } => tracing::error!(store = state.sentence()),
                State::Failing { .. }
                | State::Claiming(Progress::NeedsSpace { .. } | Progress::Failing(_)) => {
                    tracing::warn!(store = state.sentence());
                }
                _ => tracing::info!(store = state.sentence()),
            }
            inner.1 = Some(Instant::now());
        }
        inner.0 = state;
    }

    /// Whether the atSign was onboarded: its PKAM public key is stored. `false` while the store is not ours.
    pub fn activated(&self) -> watch::Receiver<bool> {
        self.activated.subscribe()
    }

    /// Sets it, and wakes who waits for it.
    pub(super) fn set_activated(&self, activated: bool) {
        self.activated.send_if_modified(|known| std::mem::replace(known, activated) != activated);
    }

    fn lock(&self) -> MutexGuard<'_, (State, Option<Instant>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
