//! Moves one server to a node that has room for it: one at a time leaves a node, the status says so before anything is
//! done, and whoever is operator by then sees it through.

use std::time::Duration;

use atsign_crds::quantity;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::events::EventType;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::act::{Act, Next, Why};
use super::fleet::{Key, Shared, Wanted};
use super::moving::Move;
use super::pod::PodView;
use super::report::Change;
use super::telling::{Telling, instant, publish};
use crate::backoff::jittered;

/// How often to look whether another server of the node is still being moved.
const QUEUE: Duration = Duration::from_secs(5);
/// How long the pod of a move may be missing: a pod takes half a minute to end, and the next may be refused by a quota.
const MISSING: SignedDuration = SignedDuration::from_mins(1);

/// One server's way to another node.
#[derive(Default)]
pub(super) struct Mover {
    /// The move that is to be made, once the status says so.
    plan: Option<Box<Move>>,
    /// The place of the one server that is moved from its node.
    place: Option<OwnedSemaphorePermit>,
}

impl Mover {
    /// Whether the server is being moved: it will be, or that was begun and no pod of that rollout runs yet.
    pub(super) fn is_moving(&self, telling: &Telling, wanted: &Wanted, pod: Option<&PodView>) -> bool {
        let runs = |last: &Move| pod.is_some_and(|pod| pod.started && pod.moved == Some(last.at));
        self.plan.is_some()
            || telling.said.is_moving() && wanted.moves.last.as_ref().is_some_and(|last| !runs(last))
    }

    /// Takes the move out of what comes next, and plans it; or gives up one that is not wanted any more. Returns when to
    /// try again, where another server is moved from this node.
    pub(super) async fn plan(
        &mut self,
        next: &mut Next,
        (shared, key): (&Shared, &Key),
        telling: &Telling,
        pod: &PodView,
        wanted: &Wanted,
    ) -> Option<Instant> {
        let mut again = None;
        if let Some(Act::Move { to }) = next.act {
            next.act = None;
            again = self.begin(to, shared, pod, wanted).await;
        } else {
            self.give_up(shared, key);
        }
        if !self.is_moving(telling, wanted, Some(pod)) {
            self.place = None;
        } else if let Some(last) = &wanted.moves.last {
            self.hold_place(shared, last);
        }
        again
    }

    async fn begin(&mut self, to: u64, shared: &Shared, pod: &PodView, wanted: &Wanted) -> Option<Instant> {
        if self.plan.is_some() {
            return None;
        }
        let left = pod.node.as_deref().unwrap_or_default();
        if self.place.is_none() {
            match shared.exit(left).try_acquire_owned() {
                Ok(place) => self.place = Some(place),
                Err(_) => return Some(Instant::now() + jittered(QUEUE)),
            }
        }
        let from = pod.limit();
        if to > from {
            let size = quantity::display(to);
            let note = format!(
                "the server is replaced by one with {size}, on a node that has room for it; its connections end"
            );
            publish(shared, wanted, EventType::Normal, "Move", "MemoryMoving", &note).await;
            shared.metrics.moved(&wanted.tier, "begun");
        }
        self.plan = Some(Box::new(Move::new(from.min(to), to, left, Timestamp::now())));
        None
    }

    fn give_up(&mut self, shared: &Shared, key: &Key) {
        if self.plan.take().is_some() {
            shared.ask_no_more(key);
        }
    }

    /// Has the Deployment rolled out with the planned size, once the status says that the server moves: whoever is
    /// operator then knows what it is about. Returns when to look whether that was done.
    pub(super) fn carry_out(
        &mut self,
        shared: &Shared,
        key: &Key,
        telling: &Telling,
        wanted: &Wanted,
    ) -> Option<Instant> {
        let plan = self.plan.as_deref()?;
        if wanted.moves.last.as_ref().is_some_and(|last| last.at >= plan.at) {
            self.plan = None;
            return None;
        }
        if telling.said.is_moving() {
            shared.ask_to_move(key, plan);
        }
        Some(Instant::now() + QUEUE)
    }

    /// There is no pod: it ends, or the next one is not made. What cannot be had is not waited for. Returns when to look
    /// again.
    pub(super) fn miss(
        &mut self,
        shared: &Shared,
        key: &Key,
        telling: &Telling,
        wanted: &Wanted,
    ) -> Option<Instant> {
        let Some(last) = wanted.moves.last.as_ref().filter(|_| self.is_moving(telling, wanted, None)) else {
            self.give_up(shared, key);
            self.place = None;
            return None;
        };
        self.hold_place(shared, last);
        if last.to <= last.from {
            return None;
        }
        let now = Timestamp::now();
        let due = last.began().checked_add(shared.policy.unschedulable_after + MISSING).ok()?;
        if due > now {
            return Some(instant(due, now));
        }
        if self.plan.is_none() {
            tracing::info!(at_sign = wanted.name, "the pod of a move is not made; the server goes back");
            self.plan = Some(Box::new(Move { at: now.as_millisecond(), to: last.from, ..last.clone() }));
        }
        self.carry_out(shared, key, telling, wanted)
    }

    /// An operator before this one may have begun the move.
    fn hold_place(&mut self, shared: &Shared, last: &Move) {
        if self.place.is_none() {
            self.place = shared.exit(&last.node).try_acquire_owned().ok();
        }
    }

    /// Notes that the server runs again after a move, with what was wanted or with what it had. Whether it does.
    pub(super) async fn arrive(
        &mut self,
        shared: &Shared,
        telling: &mut Telling,
        pod: &PodView,
        wanted: &Wanted,
    ) -> bool {
        let of_move = |last: &&Move| pod.started && pod.moved == Some(last.at) && telling.said.is_moving();
        let Some(last) = wanted.moves.last.as_ref().filter(of_move) else { return false };
        self.place = None;
        telling.said.memory.placement = None;
        let (from, to) = (last.from, pod.limit());
        if to > from {
            shared.metrics.moved(&wanted.tier, "arrived");
            let change = Change { from, to, why: Why::Moved, need: 0 };
            telling.changed(shared, wanted, &change).await;
            return true;
        }
        shared.metrics.moved(&wanted.tier, "returned");
        let size = telling.said.memory.recommended.clone();
        let size = size.unwrap_or_else(|| quantity::display(last.to));
        let sentence =
            format!("moved and returned to {}: no node has room for {size}", quantity::display(to));
        publish(shared, wanted, EventType::Warning, "Return", "MemoryMoveFailed", &sentence).await;
        telling.said.memory.last_resize_reason = Some(sentence);
        // Said in the next report, with the size.
        telling.said.memory.current = None;
        true
    }
}
