//! `GET /usage?above=…&wait=…&seen=…&activated=…`: answered when the server needs more memory or its owner has logged in
//! for the first time, so that the operator hears of it in milliseconds and a server at rest costs both nothing but a
//! socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Admin, http};
use crate::memory::budget::Figures;

/// Nobody waits longer.
const LONGEST: Duration = Duration::from_hours(1);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// Need in proportion to the limit.
    above: f64,
    /// The answer comes after this in any case.
    longest: Duration,
    /// The need that is known already.
    seen: Option<u64>,
    /// Whether it is known that the atSign was onboarded; `None` for who does not care.
    activated: Option<bool>,
}

impl Wait {
    /// What a query asks for; `None` for the figures at once.
    pub fn parse(query: Option<&str>) -> Result<Option<Self>, String> {
        let (mut above, mut wait, mut seen, mut activated) = (None, None, None, None);
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = |expected: &str| format!("{name}={value}: {expected}");
            match name {
                "above" => {
                    let share = value.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 100.0);
                    above =
                        Some(share.ok_or_else(|| wrong("a share of the limit is expected, such as 0.8"))?);
                }
                "wait" => {
                    let seconds = value.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
                    let time = seconds.map(Duration::from_secs).filter(|time| *time <= LONGEST);
                    wait = Some(time.ok_or_else(|| wrong("seconds are expected, 3600s at most"))?);
                }
                "seen" => {
                    seen = Some(value.parse().map_err(|_| wrong("bytes are expected"))?);
                }
                "activated" => {
                    activated = Some(value.parse().map_err(|_| wrong("true or false is expected"))?);
                }
                _ => return Err(format!("{name}: there are above, wait, seen and activated")),
            }
        }
        match (above, wait) {
            (Some(above), Some(wait)) => Ok(Some(Self { above, longest: wait, seen, activated })),
            (None, None) if seen.is_none() && activated.is_none() => Ok(None),
            _ => Err("above and wait go together".to_owned()),
        }
    }

    /// Whether there is something to tell of memory. `told`: how much refused work was told already.
    fn is_due(&self, figures: &Figures, told: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a mark is not that precise")]
        let is_above =
            figures.memory.limit > 0 && figures.needed as f64 >= self.above * figures.memory.limit as f64;
        let differs = |seen: u64| figures.needed.abs_diff(seen) >= (figures.memory.limit / 8).max(1);
        (is_above || figures.refused > told) && self.seen.is_none_or(differs)
    }
}

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// There is something to tell, or the time is up.
    Due,
    /// Somebody else waits now.
    Displaced,
    /// Nobody is there to be told.
    Gone,
}

/// Who waits: one, the newest.
#[derive(Debug, Default)]
pub struct Waiters {
    newest: watch::Sender<u64>,
    /// Refused work that a waiter was told of.
    told: AtomicU64,
}

impl Waiters {
    /// Waits until there is something to tell to the client of a connection.
    pub(super) async fn wait(&self, wait: Wait, admin: &Admin, stream: &TcpStream) -> Waited {
        let mut own = 0;
        self.newest.send_modify(|newest| {
            *newest += 1;
            own = *newest;
        });
        let mut newest = self.newest.subscribe();
        let mut activated = admin.status.activated();
        let until = Instant::now() + wait.longest;
        loop {
            let figures = admin.budget.figures(false);
            if wait.is_due(&figures, self.told.load(Ordering::Relaxed)) {
                self.told.store(figures.refused, Ordering::Relaxed);
                return Waited::Due;
            }
            tokio::select! {
                biased;
                _ = newest.wait_for(|newest| *newest != own) => return Waited::Displaced,
                () = http::gone(stream) => return Waited::Gone,
                () = tokio::time::sleep_until(until) => return Waited::Due,
                _ = activated.wait_for(|now| wait.activated.is_some_and(|known| *now != known)) => {
                    return Waited::Due;
                }
                () = admin.budget.account().news() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    fn figures(needed: u64, refused: u64) -> Figures {
        Figures { memory: Memory { limit: 800, ..Memory::default() }, needed, refused }
    }

    fn wait(query: &str) -> Wait {
        Wait::parse(Some(query)).expect(query).expect(query)
    }

    #[test]
    fn a_query_that_makes_no_sense_is_told_what_does() {
        assert_eq!(Wait::parse(None), Ok(None));
        assert_eq!(Wait::parse(Some("")), Ok(None));
        for (query, names) in [
            ("above=much&wait=1s", "above=much"),
            ("above=-1&wait=1s", "above=-1"),
            ("above=NaN&wait=1s", "above=NaN"),
            ("above=0.8&wait=10", "wait=10"),
            ("above=0.8&wait=3601s", "wait=3601s"),
            ("above=0.8&wait=1s&seen=-5", "seen=-5"),
            ("above=0.8&wait=1s&activated=yes", "activated=yes"),
            ("below=1", "below"),
            ("above=0.8", "go together"),
            ("seen=5", "go together"),
            ("activated=false", "go together"),
        ] {
            let error = Wait::parse(Some(query)).expect_err(query);
            assert!(error.contains(names), "{query}: {error}");
        }
    }

    #[test]
    fn it_is_answered_when_the_need_passes_the_mark_or_work_was_refused() {
        let mark = wait("above=0.8&wait=600s");
        assert!(!mark.is_due(&figures(639, 0), 0));
        assert!(mark.is_due(&figures(640, 0), 0));
        assert!(mark.is_due(&figures(100, 1), 0));
        assert!(!mark.is_due(&figures(100, 1), 1), "told already");
    }

    #[test]
    fn what_was_seen_is_told_again_only_when_it_differs_by_an_eighth_of_the_limit() {
        let mark = wait("above=0.8&wait=600s&seen=700");
        assert!(!mark.is_due(&figures(799, 0), 0));
        assert!(mark.is_due(&figures(800, 0), 0));
        assert!(!mark.is_due(&figures(690, 1), 0));
        assert!(!mark.is_due(&figures(600, 0), 0), "not above the mark any more");
    }

    #[test]
    fn without_a_limit_only_refused_work_is_told() {
        let mut figures = figures(1 << 40, 0);
        figures.memory.limit = 0;
        assert!(!wait("above=0.8&wait=1s").is_due(&figures, 0));
        figures.refused = 1;
        assert!(wait("above=0.8&wait=1s").is_due(&figures, 0));
    }
}
