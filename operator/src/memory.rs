//! Memory that grows and shrinks on running servers.
//!
//! A server tells what it *needs*, not what it uses; [`decide`](decide::decide) makes a size of that, and
//! [`sizing`] what to do about it on a pod as the API server shows it. Both are pure. A [`keeper`] for each AtSign does
//! the rest: it waits at the server's admin port ([`hearing`]), resizes the pod ([`resize`]), has it replaced where there
//! is room ([`mover`]), and says so ([`telling`]). The [`fleet`] has all of them.

pub mod act;
pub mod admin;
pub mod decide;
pub mod fleet;
pub mod hearing;
pub mod history;
pub mod keeper;
pub mod ladder;
pub mod mover;
pub mod moving;
pub mod pod;
pub mod pod_metrics;
pub mod policy;
pub mod report;
pub mod resize;
pub mod response;
pub mod sizing;
pub mod telling;
