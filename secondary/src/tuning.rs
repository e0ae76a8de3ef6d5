//! How much some verbs answer and follow, where the reference server lets its variables say so.

use crate::store::Top;

/// What variables of the reference server tune.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Names in the lists of `stats` (`statsTopVisits`, `statsTopKeys`).
    pub top: Top,
    /// Entries of a `sync` that names no limit (`syncPageLimit`).
    pub sync_entries: usize,
    /// Bytes of the answer to a `sync` (`syncBufferSize`); one entry is answered whatever its size.
    pub sync_bytes: usize,
    /// References that a `lookup` follows one after the other (`lookup_depth_of_resolution`).
    pub lookup_depth: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { top: Top::default(), sync_entries: 25, sync_bytes: 5_242_880, lookup_depth: 3 }
    }
}
