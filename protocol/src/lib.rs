//! The atProtocol as values: atSigns, keys, metadata, verbs, responses, errors.
//!
//! This crate does no I/O and reads no clock: whatever depends on the time takes `now` in Unix milliseconds.

pub mod change;
pub mod metadata;
pub mod usage;

pub use change::{Field, ImmutableRecord, MetadataChange};
pub use metadata::{Metadata, Millis};
pub use usage::Usage;
