//! Keeps one server's memory right: hears of its need, resizes its pod, says so. Between two turns it holds a socket and
//! what it remembers, nothing else.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use atsign_crds::{AtSign, quantity};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::Api;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::act::{Act, Next, Why};
use super::admin;
use super::fleet::{Key, Post, Shared, Wanted};
use super::hearing::Hearing;
use super::mover::Mover;
use super::pod::PodView;
use super::report::{Change, Facts};
use super::resize::{Refusal, resize};
use super::sizing::Sizing;
use super::telling::{Telling, instant};
use crate::backoff::jittered;
use crate::names;

/// Before the API server is asked again that could not be asked, or that had another pod.
const PACE: Duration = Duration::from_secs(1);
/// How long a resize may be under way before the status speaks of it: most are done by then.
const SOON: Duration = Duration::from_secs(2);

/// One server's memory, and whoever waits at its admin port.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    key: Key,
    post: Arc<Post>,
    sizing: Sizing,
    hearing: Hearing,
    telling: Telling,
    /// What was asked of the API server and is not there yet.
    change: Option<Change>,
    /// When that was.
    sent: Option<Instant>,
    /// The place among those that resize on this node.
    permit: Option<OwnedSemaphorePermit>,
    mover: Mover,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, key: Key, post: Arc<Post>, at_sign: &AtSign) -> Self {
        let telling = Telling::new(at_sign);
        let policy = &shared.policy;
        let mut sizing = Sizing::new(spread(policy.shrink_window, &key));
        let memory = &telling.said.memory;
        if let Some(recommended) = memory.recommended.as_deref().and_then(quantity::bytes) {
            let current = memory.current.as_deref().and_then(quantity::bytes);
            let need = if current.is_some_and(|current| recommended < current) {
                policy.shrinks_to(recommended)
            } else {
                policy.mark_of(recommended)
            };
            sizing.history.needed_before(need, Timestamp::now());
        }
        Self {
            sizing,
            telling,
            hearing: Hearing::new(),
            change: None,
            sent: None,
            permit: None,
            mover: Mover::default(),
            shared,
            key,
            post,
        }
    }

    /// Keeps for ever.
    pub(super) async fn run(mut self: Box<Self>) {
        loop {
            // Boxed, so that the memory of a turn is held only during one.
            let again = Box::pin(self.turn()).await;
            self.rest(again).await;
        }
    }

    /// Until something happens, or `until`.
    async fn rest(&mut self, until: Option<Instant>) {
        let began = tokio::select! {
            () = self.post.nudge.notified() => false,
            () = async { match until { Some(until) => sleep_until(until).await, None => pending().await } } => false,
            () = self.hearing.begins() => true,
        };
        if began {
            self.hearing.began();
        }
    }

    async fn turn(&mut self) -> Option<Instant> {
        loop {
            let wanted = self.post.wanted();
            let Some(pod) = self.shared.pod(&self.key) else {
                (self.permit, self.change) = (None, None);
                self.hearing.hang_up();
                let move_at = self.mover.miss(&self.shared, &self.key, &self.telling, &wanted);
                let say_at = self.say(&wanted, None, None, Timestamp::now()).await;
                return [move_at, say_at].into_iter().flatten().min();
            };
            self.hearing.listen(&pod, &wanted, &self.shared, &mut self.sizing).await;
            let now = Timestamp::now();
            let policy = &self.shared.policy;
            let mut next = self.sizing.next(&pod, wanted.limits, &wanted.moves, policy, now);
            self.settle(&pod, &wanted).await;
            let who = (&*self.shared, &self.key);
            let move_at = self.mover.plan(&mut next, who, &self.telling, &pod, &wanted).await;
            if let Some(act) = &next.act {
                if self.permit.is_none() {
                    let gate = self.shared.gate(pod.node.as_deref());
                    let free = gate.available_permits() > 0;
                    // The semaphore is never closed.
                    self.permit = gate.acquire_owned().await.ok();
                    if !free {
                        // Much may have changed meanwhile.
                        continue;
                    }
                }
                self.act(act, &pod, &wanted).await;
                continue;
            }
            let under_way = self.sizing.is_waiting(&pod, now);
            if !under_way {
                self.permit = None;
            }
            let ask_at = self.hearing.ask(&pod, &wanted, &self.shared, &mut self.sizing).await;
            let soon = self.sent.filter(|_| under_way).map(|sent| sent + SOON);
            let say_at = match soon.filter(|soon| *soon > Instant::now()) {
                Some(soon) => Some(soon),
                None => self.say(&wanted, Some(&pod), Some(&next), now).await,
            };
            let look_at = self.mover.carry_out(&self.shared, &self.key, &self.telling, &wanted);
            let again = next.again.map(|at| instant(at, now));
            return [again, ask_at, say_at, move_at, look_at].into_iter().flatten().min();
        }
    }

    async fn act(&mut self, act: &Act, pod: &PodView, wanted: &Wanted) {
        let (to, why) = match act {
            Act::Resize { to, why } => (*to, *why),
            Act::Shrink { to } => match self.make_room(*to, pod, wanted).await {
                Ok(()) => (*to, Why::LessNeeded),
                Err(why) => {
                    tracing::info!(at_sign = wanted.name, why, "the server is not shrunk");
                    return self.sizing.cannot_shrink(*to, &why, &self.shared.policy, Timestamp::now());
                }
            },
            Act::Move { .. } => return,
        };
        let from = pod.limit();
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), &wanted.namespace);
        let answer = resize(&pods, &pod.name, &pod.uid, to).await;
        let now = Timestamp::now();
        let asked = (quantity::display(from), quantity::display(to));
        tracing::info!(
            at_sign = wanted.name,
            from = asked.0,
            to = asked.1,
            why = why.label(),
            ?answer,
            "resize"
        );
        match answer {
            Ok(()) => {
                if why == Why::Need
                    && let Some(heard) = self.hearing.take_heard()
                {
                    self.shared.metrics.resize_sent(heard.elapsed());
                }
                self.sizing.accepted(to, why, now);
                let need = if why == Why::LessNeeded {
                    self.sizing.history.peak(now)
                } else {
                    self.sizing.history.need()
                };
                self.sent = Some(Instant::now());
                self.change = (from != to).then_some(Change { from, to, why, need });
            }
            Err(refusal) => {
                // What is there now comes by the watch, at once or once the API server is back.
                if matches!(refusal, Refusal::Unknown(_) | Refusal::Replaced) {
                    tokio::time::sleep(jittered(PACE)).await;
                }
                self.sizing.refused(to, &refusal, &self.shared.policy, now);
            }
        }
    }

    /// The handshake before a decrease: the server frees what it can, and says what is left.
    async fn make_room(&mut self, to: u64, pod: &PodView, wanted: &Wanted) -> Result<(), String> {
        if !wanted.reports {
            // It cannot be asked; the kubelet refuses what is less than it uses.
            return Ok(());
        }
        let ip = pod.ip.as_deref().ok_or("its pod has no address")?;
        let secrets: Api<Secret> = Api::namespaced(self.shared.client.clone(), &wanted.namespace);
        let name = names::admin(&wanted.name);
        let secret = secrets.get(&name).await.map_err(|error| format!("Secret {name}: {error}"))?;
        let token = secret.data.as_ref().and_then(|data| data.get(names::TOKEN_KEY));
        let token = token.and_then(|token| std::str::from_utf8(&token.0).ok());
        let token = token.ok_or_else(|| format!("Secret {name} has no key {}", names::TOKEN_KEY))?;
        let usage = admin::shrink(ip, to, token.trim()).await.map_err(|error| error.to_string())?;
        self.sizing.history.needs(usage.needed, Timestamp::now());
        if self.shared.policy.size_for(usage.needed) > to {
            return Err("it needs more".to_owned());
        }
        if usage.used > to {
            return Err("it uses more and cannot free it".to_owned());
        }
        Ok(())
    }

    /// Notes that what was asked for is there.
    async fn settle(&mut self, pod: &PodView, wanted: &Wanted) {
        if self.mover.arrive(&self.shared, &mut self.telling, pod, wanted).await {
            (self.change, self.sent) = (None, None);
            return;
        }
        let Some(change) = self.change.take_if(|change| pod.limit() == change.to && !pod.is_resizing())
        else {
            return;
        };
        if let Some(sent) = self.sent.take() {
            let grown = change.to > change.from;
            self.shared.metrics.resized(&wanted.tier, grown, change.why.label(), sent.elapsed());
        }
        self.telling.changed(&self.shared, wanted, &change).await;
    }

    /// Writes the status, if it is time for what is new; else returns when it is.
    async fn say(
        &mut self,
        wanted: &Wanted,
        pod: Option<&PodView>,
        next: Option<&Next>,
        now: Timestamp,
    ) -> Option<Instant> {
        let facts = Facts {
            pod,
            decided: next.map(|next| &next.decided),
            blocked: self.sizing.blocked.as_ref(),
            // Before the server said anything, nothing is known that is worth a word.
            usage: self.hearing.usage(),
            limits: wanted.limits,
            moving: self.mover.is_moving(&self.telling, wanted, pod),
            generation: wanted.generation,
        };
        let need = self.sizing.history.need();
        self.telling.say(&self.shared, &self.key, wanted, &facts, need, now).await
    }
}

/// Up to a quarter more, for each server another: what grew together does not shrink together.
fn spread(window: SignedDuration, key: &Key) -> SignedDuration {
    let digest = names::digest(format!("{}/{}", key.0, key.1).as_bytes());
    let part = u32::from_str_radix(&digest[..2], 16).unwrap_or_default();
    window + window / 1024 * i32::try_from(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {

    use crate::memory::fleet::Fleet;
    use crate::memory::policy::Policy;

    #[tokio::test]
    async fn a_keeper_at_rest_takes_little() {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody is there"))
        });
        let fleet = Fleet::of_test(kube::Client::new(nobody, "default"), Policy::standard());
        let keeper = Box::new(fleet.keeper_of_test());
        let bytes = size_of_val(&*keeper) + size_of_val(&keeper.run());
        assert!(bytes <= 2048, "{bytes} bytes");
    }
}
