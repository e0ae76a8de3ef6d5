//! Black-box tests, and what they stand on: a client, a real API server, a real cluster.

pub mod admin;
pub mod apiserver;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod history;
pub mod network;
pub mod ports;
pub mod secondary;
pub mod soak;
pub mod stand_in;
pub mod volume;
