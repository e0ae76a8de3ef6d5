//! What is watched, and what wakes whom. Watches keep as little as they can: children as metadata, by label, and no
//! managed fields, which are four fifths of an object's memory.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use atsign_crds::AtSign;
use atsign_crds::condition::{READY, STORAGE_SIZE_DIFFERS};
use futures::future::{BoxFuture, Shared};
use futures::stream::{self, Stream};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, controller, watcher};
use kube::{Client, Resource, ResourceExt as _};
use tokio::sync::watch;

use crate::authority::Authority;
use crate::context::{Context, GuardedAtSign, GuardedTier, Scope, Stores};
use crate::dereference::extension::{Extension, Kind};
use crate::gateways::{self, Gateways};
use crate::memory::fleet::PodFeed;
use crate::metrics::Metrics;
use crate::names;
use crate::options::Options;
use crate::reconcile::{after_failure, reconcile};
use crate::{status, trust};

/// How long events of one AtSign are gathered before it is reconciled: a rollout comes as a burst.
const GATHER: Duration = Duration::from_millis(100);
/// How often the authority is looked at.
const AUTHORITY_PERIOD: Duration = Duration::from_mins(10);
/// How often it is looked whether the cluster has got a kind that it had not.
const LOOK_FOR_KINDS: Duration = Duration::from_mins(1);
/// Secrets that hold a certificate, by what they say of themselves.
const CERTIFICATES: &str = "type=kubernetes.io/tls";
/// How long it may take until all that is watched is known.
const UNKNOWN: Duration = Duration::from_secs(30);
/// How often AtSigns are counted.
const COUNT_PERIOD: Duration = Duration::from_secs(15);

/// Reconciles until `stop`, then lets what is under way end.
pub async fn run(
    client: Client,
    options: Options,
    metrics: Arc<Metrics>,
    authority: Authority,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let stop: Shared<BoxFuture<'static, ()>> = stop.boxed().shared();
    // One that is named twice is watched once: nobody reconciles an AtSign beside another.
    let namespaces: BTreeSet<Option<String>> = match options.watch_namespaces.as_slice() {
        [] => BTreeSet::from([None]),
        namespaces => namespaces.iter().cloned().map(Some).collect(),
    };
    let (scopes, writers): (Vec<_>, Vec<_>) = namespaces.into_iter().map(scope).unzip();
    // AtSigns, tiers and classes of each.
    let unknown = watch::Sender::new(3 * scopes.len());
    let stores = Stores { scopes: scopes.clone(), unknown };
    let context = Arc::new(Context::new(client, options, stores, metrics, authority));
    let controllers = scopes
        .into_iter()
        .zip(writers)
        .map(|(scope, writers)| control(scope, writers, context.clone(), stop.clone()));
    let chores = async {
        tokio::select! {
            () = keep_authority(&context) => {}
            () = count(&context) => {}
            () = stop.clone() => {}
        }
    };
    // A controller that is told to end before it knows what there is waits for that for ever, and nothing is under way.
    let nothing_begun = async {
        tokio::select! {
            biased;
            () = filled(&context.stores) => std::future::pending().await,
            () = stop.clone() => {}
        }
    };
    tokio::select! {
        _ = async { tokio::join!(futures::future::join_all(controllers), chores) } => {}
        () = nothing_begun => {}
    }
}

/// What fills the stores of a scope.
struct Writers {
    at_signs: Writer<GuardedAtSign>,
    tiers: Writer<GuardedTier>,
    storage_classes: Writer<StorageClass>,
}

/// The stores of one watched namespace, or of all, and what fills them.
fn scope(namespace: Option<String>) -> (Scope, Writers) {
    let (at_signs, at_sign_writer) = reflector::store();
    let (tiers, tier_writer) = reflector::store();
    let (storage_classes, class_writer) = reflector::store();
    let writers = Writers { at_signs: at_sign_writer, tiers: tier_writer, storage_classes: class_writer };
    (Scope { namespace, at_signs, tiers, storage_classes }, writers)
}

/// Reconciles the AtSigns of a scope.
async fn control(
    scope: Scope,
    writers: Writers,
    context: Arc<Context>,
    stop: Shared<BoxFuture<'static, ()>>,
) {
    let (namespace, known) = (scope.namespace.as_deref(), &scope.at_signs);
    let client = &context.client;
    let children = watcher::Config::default().labels(names::MANAGED);
    let of_rival = context.clone();
    let at_signs = kept(scoped(client, namespace), writers.at_signs, &context.stores)
        .inspect_ok(move |at_sign| wake_rivals(&of_rival, at_sign));
    let tiers = kept(Api::all(client.clone()), writers.tiers, &context.stores);
    let classes = kept(Api::all(client.clone()), writers.storage_classes, &context.stores);
    let (of_tier, of_class, of_secret) = (known.clone(), known.clone(), known.clone());
    let mut feed = PodFeed::new(context.fleet.clone(), scope.namespace.clone());
    let pods = watcher(scoped::<Pod>(client, namespace), children.clone())
        .default_backoff()
        .inspect_ok(move |event| feed.take(event))
        .touched_objects();
    let routes = changed(|context| &context.routes, context.clone(), scope.namespace.clone());
    let certificates = changed(|context| &context.certificates, context.clone(), scope.namespace.clone());
    let gateways = behind_gateways(context.clone(), known.clone());
    let jobs: Api<PartialObjectMeta<Job>> = Api::namespaced(client.clone(), &context.options.namespace);
    let config = Config::default().debounce(GATHER).concurrency(context.options.concurrency);
    Controller::for_stream(at_signs, known.clone())
        .with_config(config)
        .watches_stream(tiers, move |tier| served_by(&of_tier, &tier))
        .watches_stream(classes, move |_| helped_by_a_class(&of_class))
        .owns(scoped::<Deployment>(client, namespace), children.clone())
        .owns(scoped::<Service>(client, namespace), children.clone())
        .owns(scoped::<Secret>(client, namespace), children.clone())
        .owns(scoped::<ConfigMap>(client, namespace), children.clone())
        .owns(scoped::<NetworkPolicy>(client, namespace), children.clone())
        .watches(
            scoped::<PartialObjectMeta<Secret>>(client, namespace),
            watcher::Config::default().fields(CERTIFICATES).labels(names::OF_OTHERS),
            move |secret| presented_by(&of_secret, &secret),
        )
        .watches(
            scoped::<PartialObjectMeta<PersistentVolumeClaim>>(client, namespace),
            children.clone(),
            |claim| named_by_labels(&claim),
        )
        .reconcile_on(routes)
        .reconcile_on(certificates)
        .reconcile_on(gateways)
        .watches_stream(pods, |pod| named_by_labels(&pod))
        .watches(jobs, children, |job| named_by_labels(&job))
        .reconcile_on(context.fleet.asks_of(scope.namespace.clone()))
        .graceful_shutdown_on(stop)
        .run(reconcile, after_failure, context.clone())
        .for_each(|result| {
            settle(&context, &scope, result);
            std::future::ready(())
        })
        .await;
}

/// The objects that a watch touches which fills a store.
fn kept<K>(api: Api<K>, writer: Writer<K>, stores: &Stores) -> impl Stream<Item = watcher::Result<K>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(prune)
        .reflect(writer)
        .inspect_ok(stores.fills())
        .touched_objects()
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The AtSigns whose object of a kind changed, from when the cluster has that kind on.
fn changed(
    kind: fn(&Context) -> &Kind,
    context: Arc<Context>,
    namespace: Option<String>,
) -> impl Stream<Item = ObjectRef<GuardedAtSign>> {
    stream::once(served(kind, context)).flat_map(move |(context, kind)| {
        let client = context.client.clone();
        let api: Api<PartialObjectMeta<DynamicObject>> = match &namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &kind),
            None => Api::all_with(client, &kind),
        };
        let watched = watcher(api, watcher::Config::default().labels(names::MANAGED));
        let touched = watched.default_backoff().touched_objects().filter_map(|object| {
            let object = object.inspect_err(|error| tracing::warn!(%error, "a kind cannot be watched"));
            std::future::ready(object.ok().and_then(|object| named_by_labels(&object)))
        });
        touched.boxed()
    })
}

/// The AtSigns whose Gateway, wherever it is, came, went or was written anew.
fn behind_gateways(
    context: Arc<Context>,
    at_signs: Store<GuardedAtSign>,
) -> impl Stream<Item = ObjectRef<GuardedAtSign>> {
    stream::once(served(|context| &context.gateways, context)).flat_map(move |(context, kind)| {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(context.client.clone(), &kind);
        let (at_signs, mut gateways) = (at_signs.clone(), Gateways::default());
        let events = watcher(api, watcher::Config::default()).default_backoff().filter_map(|event| {
            let event = event.inspect_err(|error| tracing::warn!(%error, "Gateways cannot be watched"));
            std::future::ready(event.ok())
        });
        let concerned = events.flat_map(move |event| {
            let changed = gateways.take(&event);
            let concerned: Vec<_> =
                changed.iter().flat_map(|gateway| gateways::behind(&at_signs, gateway)).collect();
            stream::iter(concerned)
        });
        concerned.boxed()
    })
}

/// A kind, from when the cluster has it on.
async fn served(kind: fn(&Context) -> &Kind, context: Arc<Context>) -> (Arc<Context>, ApiResource) {
    while kind(&context).is_enabled() {
        match kind(&context).look(&context.client).await {
            Ok(Extension::Served(api)) => return (context, api),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what the cluster serves could not be read"),
        }
        tokio::time::sleep(LOOK_FOR_KINDS).await;
    }
    std::future::pending().await
}

/// Drops what nobody reads.
fn prune<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// The AtSigns that a tier may concern: those that name it, and those that name none, for it may be the default.
fn served_by(at_signs: &Store<GuardedAtSign>, tier: &GuardedTier) -> Vec<ObjectRef<GuardedAtSign>> {
    let tier = tier.name_any();
    let concerned = at_signs.state().into_iter().filter(|at_sign| {
        at_sign.0.as_ref().is_ok_and(|at_sign| at_sign.spec.tier.as_ref().is_none_or(|named| *named == tier))
    });
    concerned.map(|at_sign| ObjectRef::from_obj(at_sign.as_ref())).collect()
}

/// The AtSigns that a change of a class may help: those that are not ready, whatever their status says of it, for it may
/// not say so yet, and those that wait for a larger claim.
fn helped_by_a_class(at_signs: &Store<GuardedAtSign>) -> Vec<ObjectRef<GuardedAtSign>> {
    let may_be = |at_sign: &AtSign| {
        let conditions =
            at_sign.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let is =
            |type_| conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True");
        !is(READY) || is(STORAGE_SIZE_DIFFERS)
    };
    let at_signs = at_signs.state().into_iter();
    let concerned = at_signs.filter(|at_sign| at_sign.0.as_ref().is_ok_and(may_be));
    concerned.map(|at_sign| ObjectRef::from_obj(at_sign.as_ref())).collect()
}

/// The AtSigns whose certificate a user keeps in this Secret.
fn presented_by<K: Resource>(at_signs: &Store<GuardedAtSign>, secret: &K) -> Vec<ObjectRef<GuardedAtSign>> {
    let (namespace, name) = (secret.namespace(), secret.name_any());
    let keeps = |at_sign: &AtSign| {
        let kept = at_sign.spec.tls.as_ref().and_then(|tls| tls.secret_name.as_ref());
        at_sign.namespace() == namespace && kept == Some(&name)
    };
    let at_signs = at_signs.state().into_iter();
    let concerned = at_signs.filter(|at_sign| at_sign.0.as_ref().is_ok_and(keeps));
    concerned.map(|at_sign| ObjectRef::from_obj(at_sign.as_ref())).collect()
}

/// Wakes the other AtSigns that claim the atSign of one that came or went. They may be in another scope, whose controller
/// this one cannot wake by itself.
fn wake_rivals(context: &Context, at_sign: &GuardedAtSign) {
    for rival in at_sign.0.iter().flat_map(|at_sign| context.stores.rivals_of(at_sign)) {
        context.fleet.wake(&rival.namespace().unwrap_or_default(), &rival.name_any());
    }
}

/// The AtSign that a child without owner reference belongs to.
fn named_by_labels<K: Resource>(child: &K) -> Option<ObjectRef<GuardedAtSign>> {
    let name = child.labels().get(names::INSTANCE)?;
    let namespace = child.labels().get(names::NAMESPACE).cloned().or_else(|| child.namespace())?;
    Some(ObjectRef::new(name).within(&namespace))
}

type Settled<E> =
    Result<(ObjectRef<GuardedAtSign>, controller::Action), controller::Error<E, watcher::Error>>;

fn settle<E: std::error::Error>(context: &Context, scope: &Scope, result: Settled<E>) {
    match result {
        // Failures were noted where they happened.
        Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
        Err(controller::Error::ObjectNotFound(gone)) => {
            let namespace = gone.namespace.as_deref().unwrap_or_default();
            // A storage Job may be of an AtSign in another scope.
            if !scope.is_of(namespace) {
                return;
            }
            context.backoff.forget(namespace, &gone.name);
            context.patience.forget(namespace, &gone.name);
            context.fleet.forget(namespace, &gone.name);
        }
        Err(controller::Error::QueueError(error)) => {
            tracing::warn!(%error, "a watch was interrupted, it is started again");
        }
        Err(error @ controller::Error::RunnerError(_)) => tracing::error!(%error, "the controller failed"),
    }
}

/// Returns once every watch has told what there is. Until then nobody is served, so who looks for the reason finds it.
async fn filled(stores: &Stores) {
    while tokio::time::timeout(UNKNOWN, stores.filled()).await.is_err() {
        let watches = *stores.unknown.borrow();
        tracing::warn!(
            watches,
            "nothing is reconciled yet: so many watches of AtSigns, tiers or storage classes have not told what there is; each says why when it is interrupted"
        );
    }
}

async fn keep_authority(context: &Context) {
    loop {
        tokio::time::sleep(AUTHORITY_PERIOD).await;
        let options = &context.options;
        let now = jiff::Timestamp::now();
        match trust::keep(&context.client, options, now).await {
            Ok(authority) => context.set_authority(authority),
            Err(error) => tracing::error!(%error, "the authority could not be kept"),
        }
    }
}

async fn count(context: &Context) {
    loop {
        let mut by_reason: HashMap<String, usize> = HashMap::new();
        let mut malformed = 0;
        for at_sign in context.stores.at_signs() {
            match &at_sign.0 {
                Ok(at_sign) => {
                    let ready = at_sign.status.as_ref().and_then(status::ready_of);
                    *by_reason
                        .entry(ready.map_or("Unknown", |(_, reason)| reason).to_owned())
                        .or_default() += 1;
                }
                Err(_) => malformed += 1,
            }
        }
        context.metrics.counted(by_reason, malformed);
        context.metrics.memory(context.fleet.len(), context.fleet.figures());
        tokio::time::sleep(COUNT_PERIOD).await;
    }
}
