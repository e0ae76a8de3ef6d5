//! Hears what one server needs: a request waits at its admin port, and is answered when there is something to say. Of an
//! image that has no such port it is known what it uses, from metrics.k8s.io.

use std::future::pending;
use std::time::Duration;

use atsign_protocol::Usage;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::admin::{self, Asked, Mark};
use super::decide::mark;
use super::fleet::{Shared, Wanted};
use super::pod::PodView;
use super::pod_metrics;
use super::sizing::Sizing;
use crate::backoff::jittered;

/// Between two requests to one server.
const PACE: Duration = Duration::from_secs(1);
/// The longest wait after answers that tell nothing new, or after failures.
const LONGEST: Duration = Duration::from_mins(1);
/// How long to stay away where somebody else waits at the server.
const DISPLACED: Duration = Duration::from_secs(10);
/// How much longer than agreed an answer may take.
const GRACE: Duration = Duration::from_secs(30);

/// Between two looks at what a server uses that does not say what it needs: it is measured about as often.
const LOOK: Duration = Duration::from_secs(15);

/// Whoever waits at a server's admin port, and what it heard.
pub(super) struct Hearing {
    /// The request that waits, and how.
    waiting: Option<Waiting>,
    /// When to ask again.
    ask_at: Instant,
    /// How long the wait was before it.
    pace: Duration,
    /// What the pod with this UID said last.
    usage: Option<(String, Box<Usage>)>,
    /// When that was, until it led to something.
    heard: Option<Instant>,
}

struct Waiting {
    request: Asked,
    uid: String,
    mark: Mark,
    deadline: Instant,
    began: bool,
}

impl Hearing {
    /// Of a server that has said nothing yet. A new leader does not reach for all servers at once.
    pub(super) fn new() -> Self {
        Self { waiting: None, ask_at: Instant::now() + jittered(PACE), pace: PACE, usage: None, heard: None }
    }

    /// What the server said last.
    pub(super) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref().map(|(_, usage)| usage.as_ref())
    }

    /// When the report came that is acted on now; once.
    pub(super) fn take_heard(&mut self) -> Option<Instant> {
        self.heard.take()
    }

    /// There is no pod to hear.
    pub(super) fn hang_up(&mut self) {
        self.waiting = None;
    }

    /// Returns once an answer begins.
    pub(super) async fn begins(&self) {
        match &self.waiting {
            Some(waiting) => waiting.request.begins().await,
            None => pending().await,
        }
    }

    /// An answer has begun.
    pub(super) fn began(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.began = true;
        }
    }

    /// Takes what the server answered.
    pub(super) async fn listen(
        &mut self,
        pod: &PodView,
        wanted: &Wanted,
        shared: &Shared,
        sizing: &mut Sizing,
    ) {
        if self.usage.as_ref().is_some_and(|(uid, _)| *uid != pod.uid) {
            self.usage = None;
        }
        let over = |waiting: &mut Waiting| {
            waiting.uid != pod.uid || waiting.began || waiting.deadline <= Instant::now()
        };
        let Some(waiting) = self.waiting.take_if(over) else { return };
        if waiting.uid != pod.uid {
            self.ask_at = Instant::now();
            return;
        }
        let answer = if waiting.began { waiting.request.answer().await } else { Err(admin::Error::Late) };
        let in_full = waiting.deadline.saturating_duration_since(Instant::now()) <= GRACE;
        self.heard(answer, in_full, pod, wanted, shared, sizing);
    }

    /// Takes an answer, and paces the next request: `in_full` says that this one waited as long as was agreed.
    fn heard(
        &mut self,
        answer: Result<Usage, admin::Error>,
        in_full: bool,
        pod: &PodView,
        wanted: &Wanted,
        shared: &Shared,
        sizing: &mut Sizing,
    ) {
        let now = Timestamp::now();
        match answer {
            Ok(usage) => {
                let before = self.usage.as_ref().map(|(_, usage)| usage);
                let eighth = pod.limit() / 8;
                let news = before.is_none_or(|before| {
                    usage.needed.abs_diff(before.needed) >= eighth
                        || usage.refused != before.refused
                        || usage.activated != before.activated
                });
                if usage.activated && !wanted.activated {
                    shared.reconcile(&wanted.namespace, &wanted.name);
                }
                let longest = LONGEST.min(shared.policy.wait.unsigned_abs());
                self.pace = if news || in_full { PACE } else { (self.pace * 2).min(longest) };
                self.ask_at = Instant::now() + self.pace;
                sizing.history.needs(usage.needed, now);
                self.heard = Some(Instant::now());
                self.usage = Some((pod.uid.clone(), Box::new(usage)));
            }
            Err(error) => {
                sizing.history.lost(now);
                let displaced = matches!(error, admin::Error::Status(409));
                self.pace = if displaced { DISPLACED } else { (self.pace * 2).min(LONGEST) };
                self.ask_at = Instant::now() + jittered(self.pace);
                tracing::debug!(%error, at_sign = wanted.name, "the server does not say what it needs");
            }
        }
    }

    /// Asks the server to speak up, if it is time and nothing waits there. Returns when to look after it.
    pub(super) async fn ask(
        &mut self,
        pod: &PodView,
        wanted: &Wanted,
        shared: &Shared,
        sizing: &mut Sizing,
    ) -> Option<Instant> {
        if !wanted.reports {
            return self.look(pod, wanted, shared, sizing).await;
        }
        let policy = &shared.policy;
        let above = mark(&sizing.history, wanted.limits, policy);
        if self.waiting.as_ref().is_some_and(|waiting| waiting.mark.above != above) {
            self.waiting = None;
        }
        // Before it runs there is nobody to ask.
        let ip = pod.ip.as_deref().filter(|_| pod.started)?;
        if let Some(waiting) = &self.waiting {
            return Some(waiting.deadline);
        }
        if Instant::now() < self.ask_at {
            return Some(self.ask_at);
        }
        shared.metrics.asked_for_usage();
        let Some(usage) = self.usage() else {
            let answer = {
                let _slot = shared.connecting.acquire().await;
                admin::usage(ip).await
            };
            let spoke = answer.is_ok();
            self.heard(answer, true, pod, wanted, shared, sizing);
            // What it said may ask for something.
            return Some(if spoke { Instant::now() } else { self.ask_at });
        };
        let over = u128::from(usage.needed) * 10_000 >= u128::from(above) * u128::from(usage.limit.max(1));
        // A sixth of the window, so that what is forgotten at its end is known by then.
        let wait = policy.wait.min(policy.shrink_window / 6);
        let wait = wait.clamp(SignedDuration::from_secs(1), SignedDuration::from_hours(1));
        let (seen, activated) = (over.then_some(usage.needed), usage.activated);
        let mark = Mark { above, seen, activated, wait: wait.unsigned_abs() };
        let answer = {
            let _slot = shared.connecting.acquire().await;
            admin::wait_for(ip, mark).await
        };
        match answer {
            Ok(request) => {
                let deadline = Instant::now() + mark.wait + GRACE;
                self.waiting = Some(Waiting { request, uid: pod.uid.clone(), mark, deadline, began: false });
                // The soonest time for the request after this one.
                self.ask_at = Instant::now() + PACE;
                Some(deadline)
            }
            Err(error) => {
                self.heard(Err(error), false, pod, wanted, shared, sizing);
                Some(self.ask_at)
            }
        }
    }

    /// Looks at what the server uses: the best that is known of one that does not say what it needs.
    async fn look(
        &mut self,
        pod: &PodView,
        wanted: &Wanted,
        shared: &Shared,
        sizing: &mut Sizing,
    ) -> Option<Instant> {
        self.waiting = None;
        if !pod.started || Instant::now() < self.ask_at {
            return pod.started.then_some(self.ask_at);
        }
        let pause = LOOK.min(shared.policy.wait.unsigned_abs());
        self.ask_at = Instant::now() + jittered(pause);
        match pod_metrics::working_set(&shared.client, &wanted.namespace, &pod.name).await {
            Ok(Some(bytes)) => {
                sizing.history.needs(bytes, Timestamp::now());
                let usage = Usage { needed: bytes, anon: bytes, limit: pod.limit(), ..Usage::default() };
                self.usage = Some((pod.uid.clone(), Box::new(usage)));
                // What it uses may ask for something.
                return Some(Instant::now());
            }
            Ok(None) => sizing.history.lost(Timestamp::now()),
            Err(error) => {
                sizing.history.lost(Timestamp::now());
                tracing::debug!(%error, at_sign = wanted.name, "metrics.k8s.io does not say what the server uses");
            }
        }
        Some(self.ask_at)
    }
}
