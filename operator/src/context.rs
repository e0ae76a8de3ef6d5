//! What every reconcile shares.

use std::sync::{Arc, PoisonError, RwLock};

use atsign_crds::{AtSign, AtSignTier};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::Store;
use kube::runtime::watcher::Event;
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

/// An AtSign as the watch gives it; one that is not as its schema says is an error in its place and stops nobody else.
pub type GuardedAtSign = DeserializeGuard<AtSign>;
/// A tier as the watch gives it.
pub type GuardedTier = DeserializeGuard<AtSignTier>;

/// The objects that the watches keep, pruned of what is not needed.
#[derive(Clone)]
pub struct Stores {
    /// AtSigns, one store for each watched namespace, or one for all.
    pub at_signs: Vec<Store<GuardedAtSign>>,
    /// Tiers.
    pub tiers: Store<GuardedTier>,
    /// `StorageClass`es.
    pub storage_classes: Store<StorageClass>,
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
        self.at_signs.iter().flat_map(Store::state)
    }

    /// Every tier that can be read.
    pub fn tiers(&self) -> Vec<AtSignTier> {
        self.tiers.state().iter().filter_map(|tier| tier.0.clone().ok()).collect()
    }

    /// Every `StorageClass`.
    pub fn storage_classes(&self) -> Vec<Arc<StorageClass>> {
        self.storage_classes.state()
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
