//! A connection that is told of notifications (reference page section 2.14).
//!
//! It reads them from the store, one after the other, by their place in it: first those that it missed, then those
//! that come. So none is told twice or left out between the two, and nothing waits in memory for a slow reader.

use atsign_protocol::verb::Monitor;
use atsign_protocol::{AtError, Millis};
use regex_lite::Regex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::held::{self, Held};
use super::{Entry, statistics};
use crate::atserver::AtServer;
use crate::enrollments;
use crate::memory::{Lease, Taker};
use crate::session::hears;
use crate::store::Store;
use crate::store::notifications::{Notification, Progress, Search, Which};

/// What a monitoring connection has been told, and what it wants to know.
pub(crate) struct Watching {
    regex: Option<Regex>,
    /// The enrollment by which it is connected, where it is one.
    enrollment: Option<String>,
    strict: bool,
    /// Whether it is told what the server tells its own clients.
    own: bool,
    /// The place of the last notification that it has seen.
    seen: i64,
    /// Up to this place, it misses only what is younger than that time.
    missed: Option<(i64, Millis)>,
    /// The last commit id that it was told.
    told: i64,
    progress: watch::Receiver<Progress>,
    statistics_at: Option<Instant>,
}

impl Watching {
    pub(crate) async fn start<S: Store>(
        server: &AtServer<S>,
        monitor: &Monitor,
        regex: Option<Regex>,
        enrollment: Option<String>,
    ) -> Result<Self, AtError> {
        let progress = server.store.progress();
        let last = server.store.last_notification().await?;
        let told = progress.borrow().commit;
        Ok(Self {
            regex,
            enrollment,
            strict: monitor.strict,
            own: monitor.self_notifications,
            seen: if monitor.since.is_some() { 0 } else { last },
            missed: monitor.since.map(|since| (last, since)),
            told,
            progress,
            statistics_at: next_statistics(server),
        })
    }

    /// The next line for the client, and the memory that it takes until it is sent; an error where its enrollment has
    /// ended since the last. May be dropped while it waits; nothing is lost.
    pub(crate) async fn next<S: Store>(
        &mut self,
        server: &AtServer<S>,
    ) -> Result<(String, Option<Lease>), AtError> {
        loop {
            // Noted before the store is read, so that what comes in between wakes us again.
            let progress = *self.progress.borrow_and_update();
            let since = match self.missed {
                Some((last, since)) if self.seen < last => since,
                _ => Millis::MIN,
            };
            let search = Search { after: self.seen, since, now: server.now(), own: self.own };
            if let Some(Held { notification, lease }) =
                held::read(server, Taker::Command, Which::Received(search)).await?
            {
                // The first that is young enough may have come after those that were missed; an older one may be
                // younger than that one's time.
                if let Some((last, _)) = self.missed
                    && self.seen < last
                    && notification.seq > last
                {
                    self.seen = last;
                    continue;
                }
                let wanted = self.matches(&notification) && self.may_hear(server, &notification).await?;
                self.seen = notification.seq;
                if wanted {
                    return Ok((line(&Entry::of(&notification).to_json()), Some(lease)));
                }
                continue;
            }
            if let Some((last, _)) = self.missed.take() {
                self.seen = self.seen.max(last);
                continue;
            }
            let changed = progress.commit != self.told;
            if !changed {
                tokio::select! {
                    changed = self.progress.changed() => {
                        if changed.is_err() {
                            // The store is closed, and with it ends the session.
                            std::future::pending::<()>().await;
                        }
                        continue;
                    }
                    () = until(self.statistics_at) => {}
                }
            }
            if let Some(id) = &self.enrollment {
                enrollments::access(server, id).await?;
            }
            self.told = progress.commit;
            self.statistics_at = next_statistics(server);
            if self.wants_statistics(server) {
                let deleted = changed && progress.deleted;
                let told = statistics(&server.at_sign, progress.commit, deleted, server.now());
                return Ok((line(&told), None));
            }
        }
    }

    /// Asked anew each time: an enrollment may end between two of them.
    async fn may_hear<S: Store>(
        &self,
        server: &AtServer<S>,
        notification: &Notification,
    ) -> Result<bool, AtError> {
        let Some(id) = &self.enrollment else { return Ok(true) };
        let (_, access) = enrollments::access(server, id).await?;
        Ok(hears(&access, notification))
    }

    fn matches(&self, notification: &Notification) -> bool {
        let sender = notification.sender.trim_start_matches('@');
        self.regex.as_ref().is_none_or(|regex| regex.is_match(&notification.key) || regex.is_match(sender))
    }

    fn wants_statistics<S>(&self, server: &AtServer<S>) -> bool {
        let key = format!("statsNotification.{}", server.at_sign);
        !self.strict || self.regex.as_ref().is_none_or(|regex| regex.is_match(&key))
    }
}

/// When statistics come though nothing has changed.
fn next_statistics<S>(server: &AtServer<S>) -> Option<Instant> {
    server.settings.behaviour.statistics_every.map(|every| Instant::now() + every)
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn line(json: &str) -> String {
    format!("notification: {json}\n")
}
