//! One atSign's server: everything that its connections share. Nothing of it is global, so that one process can hold
//! several.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atsign_protocol::{AtSign, Millis};
use tokio::time::Instant;

use crate::access_log::AccessLog;
use crate::compaction::Compactions;
use crate::connections::Connections;
use crate::memory::Budget;
use crate::origin::Failures;
use crate::passcodes::Guesses;
use crate::peers::Peers;
use crate::settings::Settings;
use crate::streams::Streams;
use crate::tls::Certificates;
use crate::tuning::Tuning;

/// Tells the time, Unix milliseconds. A value, so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

/// One atSign's server.
pub struct AtServer<S> {
    /// Whose it is.
    pub at_sign: AtSign,
    /// Its data.
    pub store: S,
    /// What it presents to clients.
    pub tls: Certificates,
    /// What time it is.
    pub clock: Clock,
    /// Its memory.
    pub budget: Arc<Budget>,
    /// Who is connected.
    pub connections: Connections,
    /// The servers of other atSigns.
    pub peers: Peers,
    /// Who came, as far as it is not in the store yet.
    pub(crate) access_log: AccessLog,
    /// What `config:set` changes.
    pub settings: Settings,
    /// What clients stream to other atSigns.
    pub(crate) streams: Streams,
    /// How much some verbs answer.
    pub tuning: Tuning,
    /// What came of looking at the logs.
    pub(crate) compactions: Compactions,
    /// Held while the block list is changed.
    pub(crate) block_list: tokio::sync::Mutex<()>,
    /// Held while enrollments and passcodes are changed.
    pub(crate) enrolling: tokio::sync::Mutex<()>,
    /// What holds back whoever guesses passcodes.
    pub(crate) guesses: Guesses,
    /// What holds back whoever fails to prove to be the owner.
    pub(crate) failures: Failures,
    limits: Mutex<Limits>,
    started: Instant,
    refused: AtomicU64,
}

/// What connections may take. Read anew for each connection, so a change reaches the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// TLS handshakes at a time.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a client may take to read a part of an answer.
    pub write: Duration,
    /// How long a client may be silent before it has proved who it is.
    pub stranger_idle: Idle,
    /// How long it may be silent after that.
    pub proven_idle: Idle,
    /// Bytes of a command before the client has proved who it is.
    pub stranger_command: usize,
    /// Bytes of a command of another atSign's server.
    pub peer_command: usize,
    /// Bytes of a command after that.
    pub proven_command: usize,
}

/// How long a connection may be silent: the longest while there are few connections, the shortest while there are as
/// many as there may be (reference page section 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// With few connections.
    pub max: Duration,
    /// With as many as there may be.
    pub min: Duration,
}

impl Default for Limits {
    /// The reference server's, but for what a stranger may send: it has no use for more, and the memory is not his.
    fn default() -> Self {
        Self {
            connections: 200,
            handshakes: 12,
            handshake: Duration::from_secs(10),
            write: Duration::from_secs(30),
            stranger_idle: Idle { max: Duration::from_mins(10), min: Duration::from_secs(5) },
            proven_idle: Idle { max: Duration::from_hours(30 * 24), min: Duration::from_mins(1) },
            stranger_command: 16 * 1024,
            peer_command: 1024 * 1024,
            proven_command: 10_240_000,
        }
    }
}

impl Limits {
    /// How long a connection may be silent while `open` ones are open.
    pub fn allowed_idle(&self, proven: bool, open: usize) -> Duration {
        let idle = if proven { self.proven_idle } else { self.stranger_idle };
        let low_water = self.connections / 2;
        let above = open.saturating_sub(low_water).min(self.connections - low_water);
        let span = idle.max.saturating_sub(idle.min);
        // Counts of connections are far below what a u32 holds.
        let of = u32::try_from(self.connections - low_water).unwrap_or(u32::MAX).max(1);
        let left = of - u32::try_from(above).unwrap_or(of).min(of);
        span / of * left + idle.min
    }
}

impl<S> AtServer<S> {
    /// A server that nobody is connected to yet.
    pub fn new(at_sign: AtSign, store: S, tls: Certificates, limits: Limits, clock: Clock) -> Self {
        let peers = Peers::new(at_sign.clone(), "root.atsign.org:64", None, true);
        Self {
            at_sign,
            store,
            tls,
            clock,
            budget: Budget::unlimited(),
            connections: Connections::default(),
            peers,
            access_log: AccessLog::default(),
            settings: Settings::default(),
            streams: Streams::default(),
            tuning: Tuning::default(),
            compactions: Compactions::default(),
            block_list: tokio::sync::Mutex::default(),
            enrolling: tokio::sync::Mutex::default(),
            guesses: Guesses::default(),
            failures: Failures::default(),
            limits: Mutex::new(limits),
            started: Instant::now(),
            refused: AtomicU64::new(0),
        }
    }

    /// The same server with other settings.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The same server with a budget.
    #[must_use]
    pub fn with_budget(self, budget: Arc<Budget>) -> Self {
        Self { budget, ..self }
    }

    /// What holds for the next connection.
    pub fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what holds from now on. Who is connected stays, within the new idle times.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.connections.recount();
    }

    /// How long it has been there.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Connections refused since the start for want of a slot.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a refused connection.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What time it is, Unix milliseconds.
    pub fn now(&self) -> Millis {
        (self.clock)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_allowed_for_long_while_there_are_few_connections() {
        let limits = Limits::default();
        for (open, seconds) in [(1, 600), (100, 600), (150, 302), (200, 5), (500, 5)] {
            assert_eq!(limits.allowed_idle(false, open).as_secs(), seconds, "{open} connections");
        }
        assert_eq!(limits.allowed_idle(true, 1), Duration::from_hours(30 * 24));
        assert_eq!(limits.allowed_idle(true, 200), Duration::from_mins(1));
    }

    #[test]
    fn a_server_for_one_or_no_connection_has_idle_times_too() {
        for connections in [0, 1] {
            let limits = Limits { connections, ..Limits::default() };
            assert!(limits.allowed_idle(false, 1) >= Duration::from_secs(5));
        }
    }
}
