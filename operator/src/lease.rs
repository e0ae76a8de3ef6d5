//! The lease of the leader: only its holder reconciles. Whoever cannot renew it stops before another may take it.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::time::Instant;

use crate::names;

/// How long a lease lasts, in seconds, after which another may take it.
const DURATION: u64 = 15;
/// How many seconds before its end it is renewed.
const GRACE: u64 = 8;
/// How long renewing may fail before the lease counts as lost: less than [`GRACE`], with room for what is under way.
const FAILING: Duration = Duration::from_secs(5);
/// Between two attempts.
const RETRY: Duration = Duration::from_secs(1);
/// How long one request about the lease may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The lease, held or not.
pub struct Lease {
    manager: LeaseManager,
}

impl Lease {
    /// The lease of the operator in `namespace`, for the process `identity`. `client` must not be patient: see
    /// [`PATIENCE`].
    pub async fn new(client: Client, namespace: &str, identity: &str) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client, names::FIELD_MANAGER)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .with_field_manager("atsign-operator/lease")
            .build()
            .await?;
        Ok(Self { manager })
    }

    /// Returns once the lease is held.
    pub async fn acquired(&self) {
        loop {
            match self.manager.changed().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be read");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Renews the lease; returns when it is lost.
    pub async fn lost(&self) {
        let mut failing_since: Option<Instant> = None;
        loop {
            // While it is held, `changed` returns only with bad news, and renews between.
            match self.manager.changed().await {
                Ok(false) => return,
                Ok(true) => failing_since = None,
                Err(error) => {
                    let now = Instant::now();
                    // A failure long after the last one is a new one: there was a renewal in between.
                    let since = failing_since.filter(|since| now - *since < FAILING * 2).unwrap_or(now);
                    tracing::warn!(%error, "the lease could not be renewed");
                    if now - since >= FAILING {
                        return;
                    }
                    failing_since = Some(since);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub async fn release(&self) {
        if let Err(error) = self.manager.release().await {
            tracing::warn!(%error, "the lease could not be released; it ends by itself");
        }
    }
}
