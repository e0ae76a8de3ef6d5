//! What a secondary server tells the operator about itself: the answer of `GET /usage` (DESIGN.md section 5).

use serde::{Deserialize, Serialize};

/// Figures of one server. Bytes and Unix seconds throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Version of the server.
    pub version: String,
    /// Who holds the store: the pod's UID, or the machine's boot id.
    pub holder: String,
    /// The epoch under which the store is served; 0 while the server still waits for it.
    pub epoch: u64,
    /// Whether the atSign was onboarded: a PKAM public key is stored.
    pub activated: bool,
    /// The memory limit, 0 where there is none.
    pub limit: u64,
    /// Memory that the server needs to go on as it does (DESIGN.md section 5).
    pub needed: u64,
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
    /// Size of the store's files.
    pub store_bytes: u64,
    /// Notifications accepted since midnight UTC.
    pub notifications_today: u64,
    /// Requests and connections refused for want of memory or slots since the start.
    pub refused: u64,
    /// When the served certificate ends, 0 while there is none.
    pub tls_not_after: i64,
}
