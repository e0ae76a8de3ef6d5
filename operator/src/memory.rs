//! Memory that grows and shrinks on running servers.
//!
//! A server tells what it *needs*, not what it uses; [`decide`](decide::decide) makes a size of that, and
//! [`sizing`] what to do about it on a pod as the API server shows it. Both are pure. A [`keeper`] for each AtSign does
//! the rest: it waits at the server's admin port ([`admin`]), resizes the pod ([`resize`]), and says so ([`report`]).
//! The [`fleet`] has all of them.

pub mod admin;
pub mod decide;
pub mod fleet;
pub mod history;
pub mod keeper;
pub mod ladder;
pub mod pod;
pub mod policy;
pub mod report;
pub mod resize;
pub mod response;
pub mod sizing;
