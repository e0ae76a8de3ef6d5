//! The atProtocol as values: atSigns, keys, metadata, verbs, answers, errors.
//!
//! This crate does no I/O and reads no clock: whatever depends on the time takes `now` in Unix milliseconds. Its
//! parsers take whatever a stranger sends: they never panic, and never keep more than they were given.

pub mod access;
pub mod answer;
pub mod at_sign;
pub mod backup;
pub mod change;
pub mod enrollment;
pub mod error;
mod fragment;
pub mod key;
pub mod metadata;
pub mod prompt;
#[cfg(test)]
mod round_trips;
pub mod time;
pub mod usage;
pub mod verb;

pub use access::{Access, Intent, Namespaces, Permission};
pub use at_sign::{AtSign, InvalidAtSign, object_name};
pub use change::{Field, ImmutableRecord, MetadataChange};
pub use enrollment::{Decision, Enrollment, EnrollmentState};
pub use error::{AtError, ErrorCode, ErrorStyle};
pub use key::{AtKey, Visibility};
pub use metadata::{Metadata, Millis};
pub use prompt::Prompt;
pub use usage::{Metering, Usage};
pub use verb::Command;
