//! The reference server's environment: where its paths are, and which of its variables mean nothing here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{UsageError, wrong};
use crate::store::Top;
use crate::tuning::Tuning;

/// The working directory of the reference server's image, which its relative paths start from.
const HOME: &str = "/atsign";

const ONE_STORE: &str = "all data is in one store, in the storage directory";
const NO_COMPACTION: &str = "the store needs no compaction";
const NO_MALFORMED: &str = "a malformed key is never stored";
const DUE: &str = "what expires or is to be refreshed has a timer of its own";
const OWN_BOUNDS: &str = "this server has bounds of its own for it";

/// The variables that are not heeded, and why.
pub const IGNORED: [(&str, &str); 32] = [
    ("accessLogPath", ONE_STORE),
    ("commitLogPath", ONE_STORE),
    ("notificationStoragePath", ONE_STORE),
    ("persistenceBackend", ONE_STORE),
    ("storageRoot", ONE_STORE),
    ("accessLogCompactionFrequencyMins", NO_COMPACTION),
    ("accessLogCompactionPercentage", NO_COMPACTION),
    ("accessLogExpiryInDays", NO_COMPACTION),
    ("accessLogSizeInKB", NO_COMPACTION),
    ("commitLogCompactionFrequencyMins", NO_COMPACTION),
    ("commitLogCompactionPercentage", NO_COMPACTION),
    ("commitLogExpiryInDays", NO_COMPACTION),
    ("commitLogSizeInKB", NO_COMPACTION),
    ("enableAccessLogCompactor", NO_COMPACTION),
    ("enableCommitLogCompactor", NO_COMPACTION),
    ("enableNotificationCompactor", NO_COMPACTION),
    ("notificationKeyStoreCompactionFrequencyMins", NO_COMPACTION),
    ("notificationKeyStoreCompactionPercentage", NO_COMPACTION),
    ("notificationKeyStoreExpiryInDays", NO_COMPACTION),
    ("notificationKeyStoreInKB", NO_COMPACTION),
    ("hiveMalformedKeys", NO_MALFORMED),
    ("shouldRemoveMalformedKeys", NO_MALFORMED),
    ("expiringRunFreqMins", DUE),
    ("skipCommitsForExpiredKeys", DUE),
    ("forceRestart", "certificates are read again while connections stay"),
    ("authenticated_outbound_idletime_millis", OWN_BOUNDS),
    ("notificationJobFrequency", DUE),
    ("outbound_idletime_millis", OWN_BOUNDS),
    ("outbound_max_limit", OWN_BOUNDS),
    ("toVerbOutboundEnabled", "public keys of others are looked up, which every server understands"),
    ("securityCertificateChainLocationMtls", "servers are shown the certificate that clients see"),
    ("securityPrivateKeyLocationMtls", "servers are shown the certificate that clients see"),
];

/// What is set in `env` and not heeded, by reason, in one line; `None` where nothing is.
pub fn ignored(env: impl Fn(&str) -> bool) -> Option<String> {
    let set = IGNORED.iter().filter(|(name, _)| env(name));
    let by_reason = set.fold(BTreeMap::<_, Vec<_>>::new(), |mut reasons, (name, why)| {
        reasons.entry(*why).or_default().push(*name);
        reasons
    });
    let lines: Vec<_> =
        by_reason.iter().map(|(why, names)| format!("{} ({why})", names.join(", "))).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// What the variables about `stats`, `sync` and `lookup` say.
pub fn tuning(env: impl Fn(&str) -> Option<String>) -> Result<Tuning, UsageError> {
    let number = |name: &'static str, default: usize, least: usize, most: usize| match env(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| wrong(name, format!("{text:?} is not a number from {least} to {most}"))),
    };
    let default = Tuning::default();
    let names =
        |name, default: u32| Ok(u32::try_from(number(name, default as usize, 0, 2000)?).unwrap_or(default));
    Ok(Tuning {
        top: Top {
            at_signs: names("statsTopVisits", default.top.at_signs)?,
            keys: names("statsTopKeys", default.top.keys)?,
        },
        sync_entries: number("syncPageLimit", default.sync_entries, 1, 10_000)?,
        sync_bytes: number("syncBufferSize", default.sync_bytes, 1, 1 << 30)?,
        // Each is a read, and a stranger may ask for it.
        lookup_depth: number("lookup_depth_of_resolution", default.lookup_depth, 0, 100)?,
    })
}

/// Where a path of the reference server is: from here, or, where there is nothing, from its image's working directory.
pub fn place(path: &str) -> PathBuf {
    let (here, there) = (Path::new(path), Path::new(HOME).join(path));
    if !here.exists() && (there.exists() || (here.is_relative() && there.parent().is_some_and(Path::exists)))
    {
        return there;
    }
    here.to_owned()
}
