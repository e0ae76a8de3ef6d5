//! What a secondary server tells the operator about itself: the answer of `GET /usage` and `POST /shrink` (DESIGN.md
//! section 5).

use serde::{Deserialize, Serialize};

/// Figures of one server. Bytes and Unix seconds throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Version of the server.
    pub version: String,
    /// Who holds the store: the pod's UID, or the machine's boot id.
    pub holder: String,
    /// The epoch under which the store is served; 0 while the server still waits for it. Another with every start.
    pub epoch: u64,
    /// Whether the atSign was onboarded: a PKAM public key is stored.
    pub activated: bool,
    /// The memory limit, 0 where there is none.
    pub limit: u64,
    /// Memory that the server needs to go on as it does: what cannot be evicted, the cache that it keeps coming back
    /// to, and the work of authenticated clients that it had to delay or refuse. May be more than the limit.
    pub needed: u64,
    /// All that is charged to the cgroup, page cache included: a limit below it is refused by the kubelet.
    pub used: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Kernel memory charged to the cgroup.
    pub kernel: u64,
    /// Socket buffers charged to the cgroup.
    pub sock: u64,
    /// Dirty and written-back page cache.
    pub dirty: u64,
    /// Open client connections.
    pub connections: u32,
    /// Stored keys.
    pub keys: u64,
    /// Size of what is stored: of the store's pages that hold something, without the log beside them.
    pub store_bytes: u64,
    /// Notifications accepted since midnight UTC.
    pub notifications_today: u64,
    /// Notifications sent to other atSigns since midnight UTC: those that a tier's limit counts.
    pub sent_today: u64,
    /// Requests of authenticated clients that were delayed or refused for want of memory since the start. Strangers
    /// are not counted: they must not be able to buy memory for somebody else's account.
    pub refused: u64,
    /// When the served certificate ends, 0 while there is none.
    pub tls_not_after: i64,
    /// What is billed.
    pub metering: Metering,
}

/// What a provider may bill. Counted for the life of the store, over restarts and other nodes. What is told is what is on
/// disk, as of the last renewal of the lease (ten seconds), so it never becomes less; a crash loses what came since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metering {
    /// When counting began; 0 while the store is not ours.
    pub since: i64,
    /// The memory limit over time. Nothing is counted without a limit, or while no server runs.
    pub limit_byte_seconds: u64,
    /// The size of the store's files over time.
    pub store_byte_seconds: u64,
    /// Notifications accepted, sent and received.
    pub notifications: u64,
    /// Client connections over time, strangers' too.
    pub connection_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_fields_are_named_as_other_json_of_kubernetes_and_may_be_missing() {
        let usage = Usage {
            needed: 5,
            tls_not_after: 7,
            metering: Metering { limit_byte_seconds: 9, ..Metering::default() },
            ..Usage::default()
        };
        let json = serde_json::to_value(&usage).expect("json");
        assert_eq!(json["tlsNotAfter"], 7);
        assert_eq!(json["metering"]["limitByteSeconds"], 9);
        let read: Usage = serde_json::from_str(r#"{"needed":5,"later":true}"#).expect("a usage");
        assert_eq!(read, Usage { needed: 5, ..Usage::default() });
    }
}
