//! What of a tier's limits the server is told.

use atsign_crds::{Limits, quantity};

use super::tier::Tier;
use super::{Error, Storage, claim};
use crate::dereference::Observed;
use crate::quota::{largest_store, smallest_claim};

/// The tier's limits. A claim that is made must leave room for a copy of the store; where one that is there is smaller,
/// the store may take what that leaves room for.
pub(super) fn limits(tier: &Tier, storage: &Storage, observed: &Observed) -> Result<Limits, Error> {
    let mut limits = tier.limits.clone();
    let Some(store) = limits.storage_bytes.and_then(|bytes| u64::try_from(bytes).ok()) else {
        return Ok(limits);
    };
    let size = match storage {
        // Nobody divides an export but the servers themselves.
        Storage::Nfs { .. } if observed.claim.is_some() => return Ok(limits),
        Storage::Class { size, .. } | Storage::Nfs { size, .. } => *size,
        Storage::Existing { .. } => u64::MAX,
    };
    if observed.claim.is_none() && store > largest_store(size) {
        return Err(Error::OutsideTier {
            field: "spec.storage.size",
            value: quantity::display(size),
            tier: tier.words(),
            range: format!(
                "limits.storageBytes {store} needs a claim of {} at least, for taking over from a lost node needs room for a second copy",
                quantity::display(smallest_claim(store))
            ),
        });
    }
    let there = observed.claim.as_ref().and_then(claim::capacity).unwrap_or(size);
    limits.storage_bytes = i64::try_from(store.min(largest_store(there))).ok();
    Ok(limits)
}
