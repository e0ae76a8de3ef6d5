//! The conditions of an [`AtSign`](crate::AtSign), by their names.

/// The server answers at its address, and this is the wanted state.
pub const READY: &str = "Ready";
/// The operator is at work, or waits for something that it expects to come (kstatus: abnormal when true).
pub const RECONCILING: &str = "Reconciling";
/// Nothing moves until a person changes something (kstatus: abnormal when true).
pub const STALLED: &str = "Stalled";
/// The server needs more memory than it has.
pub const MEMORY_PRESSURE: &str = "MemoryPressure";
/// The server has grown to its cap and needs more.
pub const MEMORY_CAP_REACHED: &str = "MemoryCapReached";
/// A change of size is wanted that cannot be made now.
pub const RESIZE_BLOCKED: &str = "ResizeBlocked";
/// The tier's pod or storage settings changed; they come with the next rollout.
pub const POD_SETTINGS_PENDING: &str = "PodSettingsPending";
/// More is stored than the tier allows: nothing is lost, and nothing more is taken until it fits.
pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
/// The claim has another size than the one that is wanted: it grows, or cannot.
pub const STORAGE_SIZE_DIFFERS: &str = "StorageSizeDiffers";
/// The server is stopped because `spec.suspend` says so.
pub const SUSPENDED: &str = "Suspended";
