//! Reconciles `AtSign` resources into running secondary servers.
//!
//! One pass over one AtSign reads as a sentence, a file each: [`dereference`] → [`validate`] → [`build`] → [`apply`] →
//! [`update_status`]; [`finalize`] is what takes its place once the AtSign is being deleted. Only those that read or
//! write the cluster hold a client: validate and build are pure.

pub mod apply;
pub mod authority;
pub mod backoff;
pub mod build;
pub mod client;
pub mod condition;
pub mod context;
pub mod controller;
pub mod dereference;
pub mod drift;
pub mod exposure_problem;
pub mod finalize;
pub mod gateways;
pub mod health;
pub mod leaf;
pub mod lease;
pub mod memory;
pub mod metering;
pub mod metrics;
pub mod names;
pub mod options;
pub mod patience;
pub mod pod_problem;
pub mod quota;
pub mod reach;
pub mod reconcile;
pub mod status;
pub mod telemetry;
pub mod trust;
pub mod update_status;
pub mod usage;
pub mod validate;
