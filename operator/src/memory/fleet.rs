//! All servers whose memory is kept: their pods as the watch shows them, and a keeper for each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atsign_crds::AtSign;
use atsign_crds::condition::{MEMORY_CAP_REACHED, RESIZE_BLOCKED};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::ResourceExt as _;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::keeper::Keeper;
use super::ladder::Limits;
use super::moving::{Move, Moves};
use super::pod::PodView;
use super::policy::Policy;
use super::report::Said;
use crate::context::GuardedAtSign;
use crate::metrics::{MemoryOfTier, Metrics};
use crate::names;
use crate::status::BUILT_IN_TIER;
use crate::validate::Server;

/// Servers that are connected to at the same time.
const CONNECTING: usize = 64;

/// Namespace and name of an AtSign.
pub type Key = (Arc<str>, Arc<str>);

/// What is wanted of one server's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) tier: String,
    pub(super) limits: Limits,
    pub(super) moves: Moves,
    /// Whether the server says what it needs.
    pub(super) reports: bool,
    /// Whether the status says that the owner has logged in.
    pub(super) activated: bool,
}

/// What a keeper is told, and that there is news.
#[derive(Debug)]
pub(super) struct Post {
    wanted: Mutex<Arc<Wanted>>,
    pub(super) nudge: Notify,
}

impl Post {
    pub(super) fn wanted(&self) -> Arc<Wanted> {
        lock(&self.wanted).clone()
    }
}

/// What all keepers share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) metrics: Arc<Metrics>,
    pub(super) policy: Policy,
    pub(super) connecting: Semaphore,
    pods: Mutex<HashMap<Key, PodView>>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// The ways out of nodes, for one server at a time.
    exits: Mutex<HashMap<String, Arc<Semaphore>>>,
    /// Servers that are to be rolled out with another size.
    asked: Mutex<HashMap<Key, Move>>,
    /// Who reconciles them, by namespace.
    reconcilers: Mutex<Vec<Reconciler>>,
    figures: Mutex<HashMap<Key, Figures>>,
}

/// Who reconciles the AtSigns of a namespace, or of all.
type Reconciler = (Option<String>, UnboundedSender<ObjectRef<GuardedAtSign>>);

/// What is counted of one server.
struct Figures {
    tier: Arc<str>,
    limit: u64,
    need: u64,
    at_cap: bool,
    blocked: bool,
}

impl Shared {
    pub(super) fn pod(&self, key: &Key) -> Option<PodView> {
        lock(&self.pods).get(key).cloned()
    }

    /// Who passes resizes a pod of this node, a few at a time.
    pub(super) fn gate(&self, node: Option<&str>) -> Arc<Semaphore> {
        gate(&self.gates, node.unwrap_or_default(), self.policy.resizes_per_node.into())
    }

    /// Who passes moves a pod away from this node, one at a time.
    pub(super) fn exit(&self, node: &str) -> Arc<Semaphore> {
        gate(&self.exits, node, 1)
    }

    /// Has a server rolled out with another size. Asked again for the same, it is the same rollout.
    pub(super) fn ask_to_move(&self, key: &Key, planned: &Move) {
        lock(&self.asked).insert(key.clone(), planned.clone());
        self.reconcile(&key.0, &key.1);
    }

    /// Has an AtSign reconciled: its server said something that its objects or its status are to follow.
    pub(super) fn reconcile(&self, namespace: &str, name: &str) {
        let at_sign = ObjectRef::new(name).within(namespace);
        for (scope, reconciler) in lock(&self.reconcilers).iter() {
            if scope.as_deref().is_none_or(|scope| scope == namespace) {
                // Nobody reconciles any more: whoever is operator next decides again.
                let _ = reconciler.unbounded_send(at_sign.clone());
            }
        }
    }

    pub(super) fn ask_no_more(&self, key: &Key) {
        lock(&self.asked).remove(key);
    }

    pub(super) fn count(&self, key: &Key, tier: &str, pod: Option<&PodView>, need: u64, said: &Said) {
        let mut figures = lock(&self.figures);
        let Some(pod) = pod else {
            figures.remove(key);
            return;
        };
        let tier = match figures.get(key) {
            Some(before) if *before.tier == *tier => before.tier.clone(),
            _ => tier.into(),
        };
        let (at_cap, blocked) =
            (said.reason(MEMORY_CAP_REACHED).is_some(), said.reason(RESIZE_BLOCKED).is_some());
        figures.insert(key.clone(), Figures { tier, limit: pod.limit(), need, at_cap, blocked });
    }
}

/// All servers whose memory is kept. Nobody is kept any more once it is dropped.
pub struct Fleet {
    shared: Arc<Shared>,
    kept: Mutex<HashMap<Key, Kept>>,
}

struct Kept {
    post: Arc<Post>,
    task: AbortHandle,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    /// Of nobody yet.
    pub fn new(client: Client, recorder: Recorder, metrics: Arc<Metrics>, policy: Policy) -> Self {
        let shared = Shared {
            client,
            recorder,
            metrics,
            policy,
            connecting: Semaphore::new(CONNECTING),
            pods: Mutex::default(),
            gates: Mutex::default(),
            exits: Mutex::default(),
            asked: Mutex::default(),
            reconcilers: Mutex::default(),
            figures: Mutex::default(),
        };
        Self { shared: Arc::new(shared), kept: Mutex::default() }
    }

    /// The rollout that a server's memory asks for, if it asks for one.
    pub fn asked_to_move(&self, namespace: &str, name: &str) -> Option<Move> {
        lock(&self.shared.asked).get(&key(namespace, name)).cloned()
    }

    /// The AtSigns of a namespace, or of all, that ask to be reconciled for what their servers said.
    pub fn asks_of(&self, namespace: Option<String>) -> UnboundedReceiver<ObjectRef<GuardedAtSign>> {
        let (sender, receiver) = unbounded();
        lock(&self.shared.reconcilers).push((namespace, sender));
        receiver
    }

    /// Keeps the memory of `at_sign`, as it is wanted now; `last` is the move that its Deployment is of. Until `activated`
    /// it is heard whether its owner has logged in.
    pub fn keep(&self, at_sign: &AtSign, server: &Server, last: Option<Move>, activated: bool) {
        let key = key(&server.namespace, &server.name);
        let wanted = Wanted {
            namespace: server.namespace.clone(),
            name: server.name.clone(),
            uid: server.uid.clone(),
            generation: at_sign.metadata.generation,
            tier: server.tier.clone().unwrap_or_else(|| BUILT_IN_TIER.to_owned()),
            limits: server.memory,
            moves: Moves { allowed: server.moves, last },
            reports: server.image.is_none(),
            activated,
        };
        if let Some(last) = &wanted.moves.last {
            lock(&self.shared.asked).retain(|asked, planned| *asked != key || planned.at > last.at);
        }
        let mut kept = lock(&self.kept);
        if let Some(kept) = kept.get(&key) {
            let mut before = lock(&kept.post.wanted);
            if before.uid == wanted.uid {
                if **before != wanted {
                    *before = Arc::new(wanted);
                    kept.post.nudge.notify_one();
                }
                return;
            }
        }
        let post = Arc::new(Post { wanted: Mutex::new(Arc::new(wanted)), nudge: Notify::new() });
        let keeper = Keeper::new(self.shared.clone(), key.clone(), post.clone(), at_sign);
        let task = tokio::spawn(Box::new(keeper).run()).abort_handle();
        kept.insert(key, Kept { post, task });
    }

    /// Has an AtSign reconciled, in whatever namespace it is.
    pub fn wake(&self, namespace: &str, name: &str) {
        self.shared.reconcile(namespace, name);
    }

    /// Keeps it no more: it is gone, or nothing of it may be touched.
    pub fn forget(&self, namespace: &str, name: &str) {
        let key = key(namespace, name);
        lock(&self.kept).remove(&key);
        lock(&self.shared.figures).remove(&key);
        lock(&self.shared.asked).remove(&key);
    }

    /// How many servers are kept.
    pub fn len(&self) -> usize {
        lock(&self.kept).len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sums by tier.
    pub fn figures(&self) -> HashMap<String, MemoryOfTier> {
        let mut sums: HashMap<String, MemoryOfTier> = HashMap::new();
        for figures in lock(&self.shared.figures).values() {
            let sum = sums.entry(figures.tier.as_ref().to_owned()).or_default();
            sum.servers += 1;
            sum.limit = sum.limit.saturating_add(figures.limit);
            sum.needed = sum.needed.saturating_add(figures.need);
            sum.at_cap += u64::from(figures.at_cap);
            sum.blocked += u64::from(figures.blocked);
        }
        sums
    }

    fn shows(&self, pod: &Pod) -> Option<Key> {
        let key = key_of(pod)?;
        let view = PodView::of(pod);
        let mut pods = lock(&self.shared.pods);
        let changed = match view {
            Some(view) => {
                let before = pods.get(&key);
                // Of two the younger: the other is on its way out.
                let news = before.is_none_or(|before| {
                    *before != view && (before.uid == view.uid || before.created <= view.created)
                });
                if news {
                    pods.insert(key.clone(), view);
                }
                news
            }
            None => {
                pods.get(&key).is_some_and(|before| Some(&before.uid) == pod.metadata.uid.as_ref())
                    && pods.remove(&key).is_some()
            }
        };
        drop(pods);
        if changed {
            self.nudge(&key);
        }
        Some(key)
    }

    fn lost(&self, pod: &Pod) {
        let Some(key) = key_of(pod) else { return };
        let mut pods = lock(&self.shared.pods);
        if pods.get(&key).is_some_and(|view| Some(&view.uid) == pod.metadata.uid.as_ref()) {
            pods.remove(&key);
            drop(pods);
            self.nudge(&key);
        }
    }

    fn nudge(&self, key: &Key) {
        if let Some(kept) = lock(&self.kept).get(key) {
            kept.post.nudge.notify_one();
        }
    }
}

/// What one watch of pods brings into the fleet.
pub struct PodFeed {
    fleet: Arc<Fleet>,
    namespace: Option<String>,
    listed: HashSet<Key>,
}

impl PodFeed {
    /// Of the pods in one namespace, or all.
    pub fn new(fleet: Arc<Fleet>, namespace: Option<String>) -> Self {
        Self { fleet, namespace, listed: HashSet::new() }
    }

    /// Takes an event.
    pub fn take(&mut self, event: &Event<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => self.listed.extend(self.fleet.shows(pod)),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = |key: &Key| {
                    self.namespace.as_deref().is_none_or(|namespace| namespace == key.0.as_ref())
                        && !listed.contains(key)
                };
                let gone: Vec<Key> = lock(&self.fleet.shared.pods)
                    .extract_if(|key, _| gone(key))
                    .map(|(key, _)| key)
                    .collect();
                for key in gone {
                    self.fleet.nudge(&key);
                }
            }
            Event::Apply(pod) => {
                self.fleet.shows(pod);
            }
            Event::Delete(pod) => self.fleet.lost(pod),
        }
    }
}

/// The semaphore of a node. Nodes come and go; who holds or awaits a permit has it in hand.
fn gate(gates: &Mutex<HashMap<String, Arc<Semaphore>>>, node: &str, permits: usize) -> Arc<Semaphore> {
    let mut gates = lock(gates);
    gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    gates.entry(node.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(permits))).clone()
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

/// Whose server's pod this is.
fn key_of(pod: &Pod) -> Option<Key> {
    let labels = pod.labels();
    (labels.get(names::NAME)? == names::SECONDARY).then_some(())?;
    Some(key(pod.metadata.namespace.as_deref()?, labels.get(names::INSTANCE)?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Fleet {
    pub(super) fn of_test(client: Client, policy: Policy) -> Self {
        let reporter = kube::runtime::events::Reporter::from("test");
        Self::new(client.clone(), Recorder::new(client, reporter), Arc::default(), policy)
    }

    /// A keeper of an AtSign that is nowhere.
    pub(super) fn keeper_of_test(&self) -> Keeper {
        let at_sign = AtSign::new("alice", atsign_crds::AtSignSpec::default());
        let wanted = Wanted {
            namespace: "home".to_owned(),
            name: "alice".to_owned(),
            uid: "u".to_owned(),
            generation: None,
            tier: BUILT_IN_TIER.to_owned(),
            limits: Limits { default: 6 << 20, cap: 24 << 20 },
            moves: Moves::default(),
            reports: true,
            activated: true,
        };
        let post = Arc::new(Post { wanted: Mutex::new(Arc::new(wanted)), nudge: Notify::new() });
        Keeper::new(self.shared.clone(), key("home", "alice"), post, &at_sign)
    }
}
