//! Names that are part of the API: what people and other tools write on objects, and find on them.

/// Annotation on an `AtSign`: `"true"` stops the operator from touching anything of it.
pub const PAUSED_ANNOTATION: &str = "atsign.dev/paused";
/// Annotation on an `AtSign`: a new value asks for one restart of the server.
pub const RESTART_ANNOTATION: &str = "atsign.dev/restart";
/// Label on a Deployment's metadata: the tier in force.
pub const TIER_LABEL: &str = "atsign.dev/tier";
/// Finalizer of an `AtSign` whose data goes with it.
pub const STORAGE_FINALIZER: &str = "atsign.dev/storage";
/// The key of the CRAM secret in an activation Secret.
pub const CRAM_KEY: &str = "cram";
