//! What to do about one server's memory next, from its history and its pod as the API server shows it. Pure: a pod, a
//! report or a refusal goes in, an act comes out. Nothing here must survive a restart of the operator: the pod says what
//! was asked for and what came of it, and the status what was recommended.

use atsign_crds::quantity;
use jiff::{SignedDuration, Timestamp};

use super::act::{Act, Blocked, Next, Why};
use super::decide::{Decided, Decision, decide};
use super::history::History;
use super::ladder::Limits;
use super::moving::Moves;
use super::pod::{PodView, Resize, Unscheduled};
use super::policy::Policy;
use super::resize::Refusal;

/// How long the watch may take to show what was written.
const ECHO: SignedDuration = SignedDuration::from_secs(5);
/// How long a node may try a decrease that fails before it is taken back. It looks at figures that may be this old, so the
/// first failure is often of what the server had before it made room.
const FAILING: SignedDuration = SignedDuration::from_secs(15);
/// Why a server is moved: its node has no room, or no node here can resize what runs.
const NODE_FULL: &str = "NodeFull";
const NOT_SUPPORTED: &str = "NotSupported";

/// What is known of one server's memory.
#[derive(Clone, Debug)]
pub struct Sizing {
    /// Its need and its last changes.
    pub history: History,
    /// What cannot be had.
    pub blocked: Option<Blocked>,
    /// The pod that this is about.
    pod: Option<String>,
    /// The last time that it was killed, as far as it is taken account of.
    killed: Option<Timestamp>,
    /// What was asked for last, and when.
    sent: Option<(u64, Timestamp)>,
    /// Decreases that failed since it has the memory that it has.
    failures: u8,
    /// When the pod was first seen with the memory that it has: the scheduler is given time for that, also where an operator
    /// before this one made it smaller.
    sized: Timestamp,
}

impl Sizing {
    /// Of a server that nothing is known of.
    pub fn new(window: SignedDuration) -> Self {
        Self {
            history: History::new(window),
            blocked: None,
            pod: None,
            killed: None,
            sent: None,
            failures: 0,
            sized: Timestamp::UNIX_EPOCH,
        }
    }

    /// Whether an answer to what was asked for is still to come.
    pub fn is_waiting(&self, pod: &PodView, now: Timestamp) -> bool {
        self.echo(pod, now).is_some() || (pod.is_resizing() && self.blocked.is_none())
    }

    /// What to do about `pod`.
    pub fn next(
        &mut self,
        pod: &PodView,
        limits: Limits,
        moves: &Moves,
        policy: &Policy,
        now: Timestamp,
    ) -> Next {
        self.meet(pod, now);
        let decided = decide(&self.history, limits, policy, now);
        if let Some(until) = self.echo(pod, now) {
            return Next { act: None, again: Some(until), decided };
        }
        let (mut act, mut again) = if let Some(unscheduled) = &pod.unscheduled {
            self.start_smaller(pod, unscheduled, limits, moves, policy, now)
        } else if !pod.started {
            // A node is sooner found for little, and the kubelet refuses a pod that grew before it had room for it.
            (None, None)
        } else if pod.is_resizing() {
            self.follow(pod, limits, policy, now)
        } else {
            self.begin(pod, &decided, limits, policy, now)
        };
        if act.is_none() && pod.started {
            match self.move_away(&decided, limits, moves, policy, now) {
                Ok(moving) => act = moving,
                Err(rested) => again = [again, Some(rested)].into_iter().flatten().min(),
            }
        }
        Next { act, again, decided }
    }

    /// The API server took what was asked for.
    pub fn accepted(&mut self, to: u64, why: Why, now: Timestamp) {
        self.sent = Some((to, now));
        match why {
            Why::Need | Why::Killed | Why::Restored | Why::Default => self.history.grown = Some(now),
            Why::LessNeeded => self.history.shrunk = Some(now),
            Why::LessFits | Why::TakenBack | Why::Moved | Why::NoNode => {}
        }
    }

    /// The API server refused it.
    pub fn refused(&mut self, to: u64, refusal: &Refusal, policy: &Policy, now: Timestamp) {
        let (reason, message) = match refusal {
            // The watch will show what is there now; a server that cannot be asked is asked again.
            Refusal::Replaced | Refusal::Unknown(_) => {
                self.sent = None;
                return;
            }
            Refusal::Quota(why) => (
                "QuotaExceeded",
                format!(
                    "a quota or LimitRange of the namespace has no room for {}: {why}; raise it",
                    quantity::display(to)
                ),
            ),
            Refusal::Forbidden(why) => (
                "Forbidden",
                format!(
                    "the operator may not resize pods: {why}; grant it `patch` on pods/resize, as the chart does"
                ),
            ),
            Refusal::NotSupported(why) => (
                NOT_SUPPORTED,
                format!(
                    "this cluster cannot resize a running pod: {why}; Kubernetes 1.33 or newer grows, 1.34 or newer shrinks as well; until then the server keeps the size that it starts with"
                ),
            ),
            Refusal::Other(why) => {
                ("Refused", format!("the API server refused {}: {why}", quantity::display(to)))
            }
        };
        // Of another size that would not be taken either.
        let any =
            matches!(refusal, Refusal::Forbidden(_) | Refusal::NotSupported(_)) && to > self.history.current;
        let size = if any { self.history.current + 1 } else { to };
        self.block(size, reason, message, now.checked_add(policy.retry_after).ok());
    }

    /// The server could not free enough to be shrunk.
    pub fn cannot_shrink(&mut self, to: u64, why: &str, policy: &Policy, now: Timestamp) {
        let message = format!(
            "the server cannot be shrunk to {} now: {why}; it is tried again later",
            quantity::display(to)
        );
        self.block(to, "ServerBusy", message, now.checked_add(policy.retry_after).ok());
    }

    fn meet(&mut self, pod: &PodView, now: Timestamp) {
        let known = self.pod.as_deref() == Some(&pod.uid);
        if !known {
            self.pod = Some(pod.uid.clone());
            self.blocked = None;
            self.sent = None;
            // What happened before anybody looked was dealt with then, or happens again.
            self.killed = pod.killed;
        }
        if !known || self.history.current != pod.limit() {
            self.history.current = pod.limit();
            self.sized = now;
            self.failures = 0;
        }
        if pod.killed > self.killed {
            self.killed = pod.killed;
            self.history.was_killed(now);
        }
    }

    /// Until when to wait for the watch to show what was asked for.
    fn echo(&self, pod: &PodView, now: Timestamp) -> Option<Timestamp> {
        let (to, sent) = self.sent?;
        let until = sent.checked_add(ECHO).ok()?;
        (pod.requested != to && until > now).then_some(until)
    }

    /// Nothing is under way: begins what is decided.
    fn begin(
        &mut self,
        pod: &PodView,
        decided: &Decided,
        limits: Limits,
        policy: &Policy,
        now: Timestamp,
    ) -> (Option<Act>, Option<Timestamp>) {
        self.sent = None;
        let current = self.history.current;
        let over = self.blocked.as_ref().is_some_and(|blocked| {
            let outgrown = if blocked.size > current {
                decided.recommended < blocked.size
            } else {
                decided.recommended > blocked.size
            };
            outgrown || blocked.size == current || blocked.until.is_some_and(|until| until <= now)
        });
        if over {
            self.blocked = None;
        }
        let blocked = self.blocked.as_ref();
        let until = blocked.and_then(|blocked| blocked.until);
        let act = match decided.decision {
            Decision::Stay => None,
            Decision::Grow(to) => {
                let to = match blocked {
                    Some(blocked) if blocked.size > current => limits.between(current, blocked.size),
                    _ => Some(to),
                };
                to.map(|to| Act::Resize { to, why: self.why(limits, policy) })
            }
            Decision::Shrink(to) => {
                let blocked = blocked.is_some_and(|blocked| blocked.size < current);
                // A pod that does not run yet has nothing to free.
                (!blocked && pod.actual.is_some()).then_some(Act::Shrink { to })
            }
        };
        (act, [decided.again, until].into_iter().flatten().min())
    }

    /// No step fits where the server is: it gets what it needs elsewhere, if that is wanted. `Err` is when it may.
    fn move_away(
        &self,
        decided: &Decided,
        limits: Limits,
        moves: &Moves,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Option<Act>, Timestamp> {
        let (current, to) = (self.history.current, decided.recommended);
        let here =
            self.blocked.as_ref().filter(|blocked| [NODE_FULL, NOT_SUPPORTED].contains(&blocked.reason));
        let here = here.filter(|blocked| blocked.size > current);
        let Some(blocked) = here.filter(|_| moves.allowed && to > current) else { return Ok(None) };
        if limits.between(current, blocked.size).is_some() {
            return Ok(None);
        }
        moves.rests_until(policy, now).map_or(Ok(Some(Act::Move { to })), Err)
    }

    /// No node takes the pod: after a while it is to start with less.
    fn start_smaller(
        &mut self,
        pod: &PodView,
        unscheduled: &Unscheduled,
        limits: Limits,
        moves: &Moves,
        policy: &Policy,
        now: Timestamp,
    ) -> (Option<Act>, Option<Timestamp>) {
        let Some(to) = moves.way_back(pod.moved, pod.requested, limits.default) else { return (None, None) };
        let since = self.sized.max(unscheduled.since);
        if let Some(due) = since.checked_add(policy.unschedulable_after).ok().filter(|due| *due > now) {
            return (None, Some(due));
        }
        let resizes = self.blocked.as_ref().is_none_or(|blocked| blocked.reason != NOT_SUPPORTED);
        let message = format!(
            "no node has room for {}: {}; the server starts with {} and gets more as soon as its node has room; to make room, add nodes",
            quantity::display(pod.requested),
            unscheduled.message,
            quantity::display(to)
        );
        if !resizes {
            return (Some(Act::Move { to }), None);
        }
        self.block(pod.requested, "Unschedulable", message, now.checked_add(policy.retry_after).ok());
        (Some(Act::Resize { to, why: Why::NoNode }), None)
    }

    fn why(&self, limits: Limits, policy: &Policy) -> Why {
        let current = self.history.current;
        if policy.size_for(self.history.need()) > current {
            Why::Need
        } else if current < limits.default {
            Why::Default
        } else if self.killed.is_some() {
            Why::Killed
        } else {
            Why::Restored
        }
    }

    /// A resize is under way, or hangs.
    fn follow(
        &mut self,
        pod: &PodView,
        limits: Limits,
        policy: &Policy,
        now: Timestamp,
    ) -> (Option<Act>, Option<Timestamp>) {
        let (current, requested) = (pod.limit(), pod.requested);
        let size = quantity::display(requested);
        let smaller = limits.between(current, requested);
        let retry = now.checked_add(policy.retry_after).ok();
        let due =
            |since: Timestamp, after: SignedDuration| since.checked_add(after).ok().filter(|due| *due > now);
        match &pod.resize {
            Some(Resize::Infeasible { message }) => {
                let message = format!("its node can never give it {size}: {message}; it keeps what it has");
                self.block(requested, "Infeasible", message, None);
                let (to, why) = smaller.map_or((current, Why::TakenBack), |to| (to, Why::LessFits));
                (Some(Act::Resize { to, why }), None)
            }
            Some(Resize::Deferred { since, message }) => {
                if let Some(due) = due(*since, policy.deferred_after) {
                    return (None, Some(due));
                }
                let message = format!(
                    "its node has no room for {size}: {message}; the server goes on with {} and gets more as soon as there is room; to make room, move other pods away",
                    quantity::display(current)
                );
                self.block(requested, NODE_FULL, message, retry);
                // The last step stays asked for: the node gives it once it can.
                (smaller.map(|to| Act::Resize { to, why: Why::LessFits }), None)
            }
            Some(Resize::Failing { since, message }) if requested < current => {
                if let Some(due) = due(*since, FAILING) {
                    return (None, Some(due));
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures > 1 {
                    let message =
                        format!("the node cannot take it down to {size}: {message}; it is tried again later");
                    self.block(requested, "KubeletError", message, retry);
                }
                // Nothing was changed that would have to cool down.
                self.history.shrunk = None;
                (Some(Act::Resize { to: current, why: Why::TakenBack }), None)
            }
            Some(Resize::Failing { message, .. }) => {
                let message =
                    format!("the node tries to give it {size} and fails: {message}; see the kubelet's log");
                self.block(requested, "KubeletError", message, retry);
                (None, None)
            }
            Some(Resize::InProgress) | None => {
                // Asked for by whoever was operator before, or by somebody else.
                let (_, since) = *self
                    .sent
                    .insert(self.sent.filter(|(to, _)| *to == requested).unwrap_or((requested, now)));
                if let Some(due) = due(since, policy.silent_after) {
                    return (None, Some(due));
                }
                let message = format!(
                    "its node was asked for {size} and says nothing; look at node {}",
                    pod.node.as_deref().unwrap_or("(none)")
                );
                self.block(requested, "KubeletSilent", message, retry);
                (None, None)
            }
        }
    }

    fn block(&mut self, size: u64, reason: &'static str, message: String, until: Option<Timestamp>) {
        // Of a larger and a smaller step that do not fit the smaller says more.
        let size = match &self.blocked {
            Some(blocked) if size > self.history.current && blocked.reason == reason => {
                size.min(blocked.size)
            }
            _ => size,
        };
        // Nodes count bytes in their messages, and a status is not written for each.
        let message = match self.blocked.take() {
            Some(blocked) if (blocked.size, blocked.reason) == (size, reason) => blocked.message,
            _ => message,
        };
        self.blocked = Some(Blocked { size, reason, message, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::moving::Move;

    const MIB: u64 = 1 << 20;
    const LIMITS: Limits = Limits { default: 6 * MIB, cap: 24 * MIB };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).expect("a time")
    }

    /// The pod of a move from 8Mi, for which no node has had room since the beginning.
    fn waiting(requested: u64) -> PodView {
        let unscheduled = Unscheduled { since: at(0), message: "0/1 nodes are available".to_owned() };
        PodView {
            started: false,
            actual: None,
            moved: Some(at(0).as_millisecond()),
            unscheduled: Some(unscheduled),
            ..PodView::running(requested, at(0))
        }
    }

    #[test]
    fn a_pod_that_no_node_takes_gets_smaller_step_by_step_and_each_size_gets_its_time() {
        let policy = Policy::standard();
        let patience = policy.unschedulable_after.as_secs();
        let moves = Moves { allowed: true, last: Some(Move::new(8 * MIB, 12 * MIB, "n", at(0))) };
        let smaller = |to| Some(Act::Resize { to, why: Why::NoNode });
        let mut sizing = Sizing::new(policy.shrink_window);
        let mut act = |pod: &PodView, seconds| sizing.next(pod, LIMITS, &moves, &policy, at(seconds)).act;
        assert_eq!(act(&waiting(12 * MIB), 0), None);
        assert_eq!(act(&waiting(12 * MIB), patience), smaller(8 * MIB));
        assert_eq!(act(&waiting(8 * MIB), patience + 1), None, "the scheduler has not looked at it yet");
        assert_eq!(act(&waiting(8 * MIB), 2 * patience + 1), smaller(6 * MIB));

        // Whoever is operator since a moment ago does not know when it got smaller.
        let mut sizing = Sizing::new(policy.shrink_window);
        let mut act = |pod: &PodView, seconds| sizing.next(pod, LIMITS, &moves, &policy, at(seconds)).act;
        assert_eq!(act(&waiting(8 * MIB), patience + 1), None);
        assert_eq!(act(&waiting(8 * MIB), 2 * patience + 1), smaller(6 * MIB));
    }
}
