//! What every reconcile shares.

use std::sync::{Arc, PoisonError, RwLock};

use atsign_crds::{AtSign, AtSignTier};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;

use crate::authority::Authority;
use crate::backoff::Backoff;
use crate::dereference::extension::Kind;
use crate::memory::fleet::Fleet;
use crate::metrics::Metrics;
use crate::names;
use crate::options::Options;
use crate::patience::Patience;
use crate::usage::UsageCache;
use crate::validate::identity;

/// An AtSign as the watch gives it; one that is not as its schema says is an error in its place and stops nobody else.
pub type GuardedAtSign = DeserializeGuard<AtSign>;
/// A tier as the watch gives it.
pub type GuardedTier = DeserializeGuard<AtSignTier>;

/// The objects that the watches of one namespace keep, or of all. What belongs to no namespace is in each, so that who is
/// woken by its watch finds it.
#[derive(Clone)]
pub struct Scope {
    /// The namespace; none for all.
    pub namespace: Option<String>,
    /// Its AtSigns.
    pub at_signs: Store<GuardedAtSign>,
    /// All tiers.
    pub tiers: Store<GuardedTier>,
    /// All `StorageClass`es.
    pub storage_classes: Store<StorageClass>,
}

impl Scope {
    /// Whether AtSigns of this namespace are in it.
    pub fn is_of(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// The objects that the watches keep, pruned of what is not needed.
#[derive(Clone)]
pub struct Stores {
    /// Of each watched namespace, or one for all.
    pub scopes: Vec<Scope>,
    /// How many watches have not told yet what there is.
    pub unknown: watch::Sender<usize>,
}

impl Stores {
    /// Returns once every watch has told what there is: who reconciles before could give one atSign to two, or miss a
    /// tier. (A store of kube's can be waited for by one only.)
    pub async fn filled(&self) {
        // The sender is here.
        let _ = self.unknown.subscribe().wait_for(|unknown| *unknown == 0).await;
    }

    /// Notes of a watch when it has told what there is.
    pub fn fills<K>(&self) -> impl FnMut(&Event<K>) + use<K> {
        let mut unknown = Some(self.unknown.clone());
        move |event| {
            if let Event::InitDone = event
                && let Some(unknown) = unknown.take()
            {
                unknown.send_modify(|unknown| *unknown -= 1);
            }
        }
    }

    /// Every AtSign that can be read.
    pub fn at_signs(&self) -> impl Iterator<Item = Arc<GuardedAtSign>> {
        self.scopes.iter().flat_map(|scope| scope.at_signs.state())
    }

    /// The other AtSigns that claim the same atSign, wherever they are.
    pub fn rivals_of(&self, at_sign: &AtSign) -> impl Iterator<Item = Arc<GuardedAtSign>> {
        let (uid, identity) = (at_sign.uid(), identity(at_sign));
        self.at_signs().filter(move |other| {
            let claims = |other: &AtSign| identity.is_some() && self::identity(other) == identity;
            other.uid() != uid && other.0.as_ref().is_ok_and(claims)
        })
    }

    /// Every tier that can be read, as it is known where this namespace is watched.
    pub fn tiers(&self, namespace: &str) -> Vec<AtSignTier> {
        let tiers = self.of(namespace).map(|scope| scope.tiers.state()).unwrap_or_default();
        tiers.iter().filter_map(|tier| tier.0.clone().ok()).collect()
    }

    /// Every `StorageClass`, as it is known there.
    pub fn storage_classes(&self, namespace: &str) -> Vec<Arc<StorageClass>> {
        self.of(namespace).map(|scope| scope.storage_classes.state()).unwrap_or_default()
    }

    fn of(&self, namespace: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.is_of(namespace))
    }
}

/// What every reconcile shares.
pub struct Context {
    /// The client of the cluster.
    pub client: Client,
    /// The flags.
    pub options: Options,
    /// What the watches keep.
    pub stores: Stores,
    /// Writes Events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Who failed how often.
    pub backoff: Backoff,
    /// Who waits for what passes by itself.
    pub patience: Patience,
    /// What servers said of themselves.
    pub usage: UsageCache,
    /// `TLSRoute`s, where the cluster has them.
    pub routes: Kind,
    /// Gateways, where the cluster has them.
    pub gateways: Kind,
    /// cert-manager's Certificates, where the cluster has them.
    pub certificates: Kind,
    /// Whose memory is kept.
    pub fleet: Arc<Fleet>,
    authority: RwLock<Arc<Authority>>,
}

impl Context {
    /// A context that signs with `authority`.
    pub fn new(
        client: Client,
        options: Options,
        stores: Stores,
        metrics: Arc<Metrics>,
        authority: Authority,
    ) -> Self {
        let reporter = Reporter {
            controller: names::FIELD_MANAGER.to_owned(),
            instance: Some(options.identity.clone()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        let policy = options.memory.clone();
        Self {
            fleet: Arc::new(Fleet::new(client.clone(), recorder.clone(), metrics.clone(), policy)),
            routes: Kind::tls_route(options.gateway_api),
            gateways: Kind::gateway(options.gateway_api),
            certificates: Kind::certificate(options.cert_manager),
            recorder,
            client,
            options,
            stores,
            metrics,
            backoff: Backoff::default(),
            patience: Patience::default(),
            usage: UsageCache::default(),
            authority: RwLock::new(Arc::new(authority)),
        }
    }

    /// The authority as it is now.
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs with `authority` from now on.
    pub fn set_authority(&self, authority: Authority) {
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(authority);
    }
}
