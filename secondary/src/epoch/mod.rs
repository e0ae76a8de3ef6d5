//! One writer for one store, by epochs: neither locks nor clocks are trusted (DESIGN.md section 6).
//!
//! Epoch *n* is three things below the storage directory: `epoch/<n>`, written only by its holder; `epoch/<n>.seal`,
//! zeros until a successor fills it, and never cleared; and a data folder. Who wants the store links the next number,
//! seals every number below and only then looks at what they hold. Who holds it reads its own seal after every fsync:
//! what was written before the seal was set is in what the successor copies, and what was written after it is never
//! answered.
//!
//! Everything that decides is a function of what was seen and when ([`lease::Watch`], [`decision::decide`],
//! [`decision::choose`]); files are in [`files`], the fence in [`fence`], the copy in [`copy`]. What all of it asks of the
//! machine is in [`volume`]; the tests put a simulation of several machines there (`model`) and try every order of events.

pub mod block;
pub mod copy;
pub mod decision;
pub mod fence;
pub mod files;
pub mod holding;
pub mod lease;
#[cfg(test)]
mod model;
pub mod replace;
pub mod takeover;
pub mod volume;

use std::time::Duration;

pub use holding::Holding;
pub use lease::{Lease, Term};
pub use takeover::{Claimant, Contents, TakeoverError};

/// Time since this machine started, sleep included. The only clock that this protocol reads.
pub fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
