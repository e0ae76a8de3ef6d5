//! Keeps one server's memory right: hears of its need, resizes its pod, says so. Between two turns it holds a socket and
//! what it remembers, nothing else.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use atsign_crds::condition::{MEMORY_CAP_REACHED, RESIZE_BLOCKED};
use atsign_crds::{AtSign, quantity};
use atsign_protocol::Usage;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Secret};
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::admin::{self, Asked, Mark};
use super::decide::mark;
use super::fleet::{Key, Post, Shared, Wanted};
use super::pod::PodView;
use super::report::{Change, Facts, Said, due, report};
use super::resize::{Refusal, resize};
use super::sizing::{Act, Next, Sizing, Why};
use crate::backoff::jittered;
use crate::names;

/// Between two requests to one server.
const PACE: Duration = Duration::from_secs(1);
/// The longest wait after answers that tell nothing new, or after failures.
const LONGEST: Duration = Duration::from_mins(1);
/// How long to stay away where somebody else waits at the server.
const DISPLACED: Duration = Duration::from_secs(10);
/// How much longer than agreed an answer may take.
const GRACE: Duration = Duration::from_secs(30);
/// How long a resize may be under way before the status speaks of it: most are done by then.
const SOON: Duration = Duration::from_secs(2);

/// One server's memory, and whoever waits at its admin port.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    key: Key,
    post: Arc<Post>,
    sizing: Sizing,
    /// What the status says.
    said: Said,
    said_at: Timestamp,
    /// The request that waits, and how.
    waiting: Option<Waiting>,
    /// When to ask again.
    ask_at: Instant,
    /// How long the wait was before it.
    pace: Duration,
    /// What the pod with this UID said last.
    usage: Option<(String, Box<Usage>)>,
    /// What was asked of the API server and is not there yet.
    change: Option<Change>,
    /// When the server was heard last, and when the API server was asked.
    heard: Option<Instant>,
    sent: Option<Instant>,
    /// The place among those that resize on this node.
    permit: Option<OwnedSemaphorePermit>,
}

struct Waiting {
    request: Asked,
    uid: String,
    mark: Mark,
    deadline: Instant,
    began: bool,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, key: Key, post: Arc<Post>, at_sign: &AtSign) -> Self {
        let said = Said::by(at_sign);
        let policy = &shared.policy;
        let mut sizing = Sizing::new(spread(policy.shrink_window, &key));
        if let Some(recommended) = said.memory.recommended.as_deref().and_then(quantity::bytes) {
            let current = said.memory.current.as_deref().and_then(quantity::bytes);
            let need = if current.is_some_and(|current| recommended < current) {
                policy.shrinks_to(recommended)
            } else {
                policy.mark_of(recommended)
            };
            sizing.history.needed_before(need, Timestamp::now());
        }
        Self {
            sizing,
            said,
            // An operator before us may have written just now.
            said_at: Timestamp::now(),
            waiting: None,
            // So that a new leader does not reach for all servers at once.
            ask_at: Instant::now() + jittered(PACE),
            pace: PACE,
            usage: None,
            change: None,
            heard: None,
            sent: None,
            permit: None,
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
        let waiting = self.waiting.as_ref();
        let began = tokio::select! {
            () = self.post.nudge.notified() => false,
            () = async { match until { Some(until) => sleep_until(until).await, None => pending().await } } => false,
            () = async { match waiting { Some(waiting) => waiting.request.begins().await, None => pending().await } } => true,
        };
        if began && let Some(waiting) = &mut self.waiting {
            waiting.began = true;
        }
    }

    async fn turn(&mut self) -> Option<Instant> {
        loop {
            let wanted = self.post.wanted();
            let Some(pod) = self.shared.pod(&self.key) else {
                (self.waiting, self.permit, self.change) = (None, None, None);
                return self.say(&wanted, None, None, Timestamp::now()).await;
            };
            self.listen(&pod, &wanted).await;
            let now = Timestamp::now();
            let policy = &self.shared.policy;
            let next = self.sizing.next(&pod, wanted.limits, policy, now);
            self.settle(&pod, &wanted).await;
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
            let ask_at = self.ask(&pod, &wanted).await;
            let soon = self.sent.filter(|_| under_way).map(|sent| sent + SOON);
            let say_at = match soon.filter(|soon| *soon > Instant::now()) {
                Some(soon) => Some(soon),
                None => self.say(&wanted, Some(&pod), Some(&next), now).await,
            };
            let again = next.again.map(|at| instant(at, now));
            return [again, ask_at, say_at].into_iter().flatten().min();
        }
    }

    /// Takes what the server answered.
    async fn listen(&mut self, pod: &PodView, wanted: &Wanted) {
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
        self.heard(answer, in_full, pod, wanted);
    }

    /// Takes an answer, and paces the next request: `in_full` says that this one waited as long as was agreed.
    fn heard(&mut self, answer: Result<Usage, admin::Error>, in_full: bool, pod: &PodView, wanted: &Wanted) {
        let now = Timestamp::now();
        match answer {
            Ok(usage) => {
                let before = self.usage.as_ref().map(|(_, usage)| usage);
                let eighth = pod.limit() / 8;
                let news = before.is_none_or(|before| {
                    usage.needed.abs_diff(before.needed) >= eighth || usage.refused != before.refused
                });
                let longest = LONGEST.min(self.shared.policy.wait.unsigned_abs());
                self.pace = if news || in_full { PACE } else { (self.pace * 2).min(longest) };
                self.ask_at = Instant::now() + self.pace;
                self.sizing.history.needs(usage.needed, now);
                self.heard = Some(Instant::now());
                self.usage = Some((pod.uid.clone(), Box::new(usage)));
            }
            Err(error) => {
                self.sizing.history.lost(now);
                let displaced = matches!(error, admin::Error::Status(409));
                self.pace = if displaced { DISPLACED } else { (self.pace * 2).min(LONGEST) };
                self.ask_at = Instant::now() + jittered(self.pace);
                tracing::debug!(%error, at_sign = wanted.name, "the server does not say what it needs");
            }
        }
    }

    /// Asks the server to speak up, if it is time and nothing waits there. Returns when to look after it.
    async fn ask(&mut self, pod: &PodView, wanted: &Wanted) -> Option<Instant> {
        let policy = &self.shared.policy;
        let above = mark(&self.sizing.history, wanted.limits, policy);
        if self.waiting.as_ref().is_some_and(|waiting| waiting.mark.above != above) {
            self.waiting = None;
        }
        // Before it runs there is nobody to ask.
        let ip = pod.ip.as_deref().filter(|_| pod.actual.is_some())?;
        if let Some(waiting) = &self.waiting {
            return Some(waiting.deadline);
        }
        if Instant::now() < self.ask_at {
            return Some(self.ask_at);
        }
        self.shared.metrics.asked_for_usage();
        let Some((_, usage)) = &self.usage else {
            let answer = {
                let _slot = self.shared.connecting.acquire().await;
                admin::usage(ip).await
            };
            self.heard(answer, true, pod, wanted);
            // What it said may ask for something.
            self.post.nudge.notify_one();
            return Some(self.ask_at);
        };
        let over = u128::from(usage.needed) * 10_000 >= u128::from(above) * u128::from(usage.limit.max(1));
        // A sixth of the window, so that what is forgotten at its end is known by then.
        let wait = policy.wait.min(policy.shrink_window / 6);
        let wait = wait.clamp(SignedDuration::from_secs(1), SignedDuration::from_hours(1));
        let mark = Mark { above, seen: over.then_some(usage.needed), wait: wait.unsigned_abs() };
        let answer = {
            let _slot = self.shared.connecting.acquire().await;
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
                self.heard(Err(error), false, pod, wanted);
                Some(self.ask_at)
            }
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
                    && let Some(heard) = self.heard.take()
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
        let Some(change) = self.change.take_if(|change| pod.limit() == change.to && !pod.is_resizing())
        else {
            return;
        };
        let grown = change.to > change.from;
        if let Some(sent) = self.sent.take() {
            self.shared.metrics.resized(&wanted.tier, grown, change.why.label(), sent.elapsed());
        }
        let sentence = change.sentence();
        let reason = if grown { "MemoryGrown" } else { "MemoryShrunk" };
        let action =
            format!("ResizeFrom{}To{}", quantity::display(change.from), quantity::display(change.to));
        self.publish(wanted, EventType::Normal, &action, reason, &format!("memory {sentence}")).await;
        self.said.memory.last_resize_reason = Some(sentence);
        // Said in the next report, with the size.
        self.said.memory.current = None;
    }

    /// Writes the status, if it is time for what is new; else returns when it is.
    async fn say(
        &mut self,
        wanted: &Wanted,
        pod: Option<&PodView>,
        next: Option<&Next>,
        now: Timestamp,
    ) -> Option<Instant> {
        // Before the server said anything, nothing is known that is worth a word.
        let usage = self.usage.as_ref().map(|(_, usage)| usage.as_ref());
        let facts = Facts {
            pod,
            decided: next.map(|next| &next.decided),
            blocked: self.sizing.blocked.as_ref(),
            usage,
            limits: wanted.limits,
            generation: wanted.generation,
        };
        let said = report(&self.said, &facts, now);
        self.shared.count(&self.key, &wanted.tier, pod, self.sizing.history.need(), &said);
        let at = due(&self.said, &said, self.said_at, now)?;
        if at > now {
            return Some(instant(at, now));
        }
        for type_ in [MEMORY_CAP_REACHED, RESIZE_BLOCKED] {
            if let Some(condition) = said.reason(type_)
                && self.said.reason(type_).map(|before| &before.reason) != Some(&condition.reason)
            {
                let reason = if type_ == RESIZE_BLOCKED { &condition.reason } else { type_ };
                self.publish(wanted, EventType::Warning, "Resize", reason, &condition.message).await;
            }
        }
        let api: Api<AtSign> = Api::namespaced(self.shared.client.clone(), &wanted.namespace);
        let patch = json!({
            "apiVersion": AtSign::api_version(&()),
            "kind": AtSign::kind(&()),
            "metadata": {"name": wanted.name, "uid": wanted.uid},
            "status": {"memory": said.memory, "conditions": said.conditions},
        });
        let params = PatchParams::apply(names::MEMORY_MANAGER).force();
        match api.patch_status(&wanted.name, &params, &Patch::Apply(&patch)).await {
            Ok(_) => {}
            // It was deleted meanwhile, or deleted and made again: this status is of nobody.
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => {}
            Err(error) => {
                tracing::warn!(%error, at_sign = wanted.name, "the status could not be written");
                return Some(Instant::now() + jittered(LONGEST / 10));
            }
        }
        self.said = said;
        self.said_at = now;
        None
    }

    /// An Event is a courtesy: what it tells stands in the status too.
    async fn publish(&self, wanted: &Wanted, type_: EventType, action: &str, reason: &str, note: &str) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(250).collect()),
            // Events of one action are counted together and keep the first one's words.
            action: action.to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some(AtSign::api_version(&()).into_owned()),
            kind: Some(AtSign::kind(&()).into_owned()),
            name: Some(wanted.name.clone()),
            namespace: Some(wanted.namespace.clone()),
            uid: Some(wanted.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = self.shared.recorder.publish(&event, &about).await {
            tracing::warn!(%error, reason, "the Event could not be written");
        }
    }
}

/// Up to a quarter more, for each server another: what grew together does not shrink together.
fn spread(window: SignedDuration, key: &Key) -> SignedDuration {
    let digest = names::digest(format!("{}/{}", key.0, key.1).as_bytes());
    let part = u32::from_str_radix(&digest[..2], 16).unwrap_or_default();
    window + window / 1024 * i32::try_from(part).unwrap_or_default()
}

fn instant(at: Timestamp, now: Timestamp) -> Instant {
    Instant::now() + Duration::try_from(at.duration_since(now)).unwrap_or_default()
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
