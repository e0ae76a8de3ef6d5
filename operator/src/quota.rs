//! What a tier limits and how much of it is used, as a status says it. Pure.

use atsign_crds::condition::QUOTA_EXCEEDED;
use atsign_crds::{Limits, LimitsStatus, Share, quantity};
use atsign_protocol::Usage;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::condition::Because;

/// More is stored than the tier allows.
const DOES_NOT_FIT: &str = "TierDoesNotFit";
/// As much is used as the tier allows.
const REACHED: &str = "LimitReached";

/// Of a claim, what a store may take: whoever takes over from a lost node copies it beside the old one.
const PERCENT_OF_CLAIM: u64 = 45;

/// The largest store that leaves room in a claim of this size for its copy.
pub fn largest_store(claim: u64) -> u64 {
    claim / 100 * PERCENT_OF_CLAIM
}

/// The smallest claim that a store of this size leaves room in.
pub fn smallest_claim(store: u64) -> u64 {
    store.div_ceil(PERCENT_OF_CLAIM).saturating_mul(100)
}

/// The limits beside memory and storage, and what is used of them; `None` where there are none.
pub fn status(
    limits: &Limits,
    usage: Option<&Usage>,
    previous: Option<&LimitsStatus>,
) -> Option<LimitsStatus> {
    let share = |limit: Option<i64>, used: Option<u64>, before: Option<&Share>| {
        let limit = limit?;
        let before = before.and_then(|before| before.used);
        let used = match used.and_then(|used| i64::try_from(used).ok()) {
            Some(used) => Some(to_an_eighth(used, limit, before)),
            None => before,
        };
        Some(Share { used, limit })
    };
    let before = |of: fn(&LimitsStatus) -> Option<&Share>| previous.and_then(of);
    let status = LimitsStatus {
        connections: share(
            limits.connections.map(i64::from),
            usage.map(|usage| u64::from(usage.connections)),
            before(|status| status.connections.as_ref()),
        ),
        keys: share(limits.keys, usage.map(|usage| usage.keys), before(|status| status.keys.as_ref())),
        notifications_today: share(
            limits.notifications_per_day,
            usage.map(|usage| usage.sent_today),
            before(|status| status.notifications_today.as_ref()),
        ),
    };
    (status != LimitsStatus::default()).then_some(status)
}

/// What is used, rounded up to an eighth of the limit; where it fell, only if that is clearly less. So what goes a little
/// up and down is not written each time.
pub fn to_an_eighth(used: i64, limit: i64, before: Option<i64>) -> i64 {
    let eighth = (limit / 8).max(1);
    if let Some(before) = before
        && before % eighth == 0
        && used <= before
        && used.saturating_add(eighth + eighth / 2) > before
    {
        return before;
    }
    used.saturating_add(eighth - 1) / eighth * eighth
}

/// What is over, or at its end: by how much, and what to do.
pub fn exceeded(limits: &Limits, usage: &Usage, tier: &str) -> Option<Because> {
    let limit = |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok());
    let (keys, bytes) = (limit(limits.keys), limit(limits.storage_bytes));
    let mut over = Vec::new();
    if let Some(limit) = keys.filter(|limit| usage.keys > *limit) {
        over.push(format!("{} keys (it has {} and the limit is {limit})", usage.keys - limit, usage.keys));
    }
    if let Some(limit) = bytes.filter(|limit| usage.store_bytes > *limit) {
        let (over_by, has) = (usage.store_bytes - limit, usage.store_bytes);
        over.push(format!("{over_by} bytes (it has {has} and the limit is {limit})"));
    }
    if !over.is_empty() {
        let over = over.join(" and ");
        return Some(Because::new(
            DOES_NOT_FIT,
            format!(
                "the data does not fit {tier}: delete {over}, or choose a larger tier; nothing is lost, and until then the server refuses only what makes it more"
            ),
        ));
    }
    let mut full = Vec::new();
    if keys.is_some_and(|limit| usage.keys >= limit) {
        full.push("limits.keys");
    }
    if bytes.is_some_and(|limit| usage.store_bytes >= limit - limit / 64) {
        full.push("limits.storageBytes");
    }
    if limit(limits.notifications_per_day).is_some_and(|limit| usage.sent_today >= limit) {
        full.push("limits.notificationsPerDay (until midnight UTC)");
    }
    (!full.is_empty()).then(|| {
        Because::new(
            REACHED,
            format!(
                "{} of {tier} is used up: the server refuses what takes more; delete keys, or choose a larger tier",
                full.join(" and ")
            ),
        )
    })
}

/// What was said of it before, while there is a limit that it may be about.
pub fn standing(limits: &Limits, conditions: &[Condition]) -> Option<Because> {
    let said = conditions.iter().find(|condition| condition.type_ == QUOTA_EXCEEDED)?;
    let reason = if said.reason == DOES_NOT_FIT { DOES_NOT_FIT } else { REACHED };
    (*limits != Limits::default()).then(|| Because::new(reason, said.message.clone()))
}

/// What is stored, to an eighth of the limit.
pub fn storage_used(used: u64, limit: i64, before: Option<&str>) -> String {
    let before = before.and_then(quantity::bytes).and_then(|before| i64::try_from(before).ok());
    let used = to_an_eighth(i64::try_from(used).unwrap_or(i64::MAX), limit, before);
    quantity::display(used.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_a_little_up_and_down_is_not_told_each_time() {
        for (used, before, told) in [
            (0, None, 0),
            (1, None, 100),
            (99, Some(100), 100),
            (101, Some(100), 200),
            (60, Some(200), 200),
            (40, Some(200), 100),
            (900, Some(800), 900),
        ] {
            assert_eq!(to_an_eighth(used, 800, before), told, "{used} after {before:?}");
        }
        assert_eq!(to_an_eighth(3, 5, None), 3, "small limits are told exactly");
    }

    #[test]
    fn a_claim_has_room_for_a_store_and_its_copy() {
        assert_eq!(largest_store(1_000_000_000), 450_000_000);
        assert_eq!(smallest_claim(450_000_000), 1_000_000_000);
        for store in [1, 100, 4096, 123_456_789] {
            assert!(largest_store(smallest_claim(store)) >= store, "{store}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_by_how_much() {
        let limits = Limits { keys: Some(10), storage_bytes: Some(1_000_000), ..Limits::default() };
        let usage = |keys, store_bytes| Usage { keys, store_bytes, ..Usage::default() };
        let over = exceeded(&limits, &usage(13, 1_500_000), "AtSignTier free").expect("over");
        assert_eq!(over.reason, "TierDoesNotFit");
        assert!(over.message.contains("delete 3 keys (it has 13 and the limit is 10) and 500000 bytes"));
        assert_eq!(exceeded(&limits, &usage(10, 5), "t").map(|it| it.reason), Some("LimitReached"));
        assert_eq!(exceeded(&limits, &usage(9, 5), "t"), None);
        assert_eq!(exceeded(&Limits::default(), &usage(1 << 40, 1 << 40), "t"), None);
    }
}
