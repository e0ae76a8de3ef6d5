//! One atSign's secondary server (atServer).
//!
//! [`process`] starts and ends it; [`listener`] accepts connections and starts a session for each; sessions ask the
//! [`store`], which is ours by the rules of [`epoch`].

mod access_log;
pub mod activation;
pub mod admin;
pub mod atserver;
pub mod backup;
pub mod behaviour;
mod compaction;
pub mod connections;
mod copies;
mod enrollments;
pub mod epoch;
mod handshakes;
pub mod limits;
pub mod listener;
pub mod logs;
pub mod memory;
pub mod metering;
mod notifications;
pub mod options;
pub mod origin;
mod passcodes;
pub mod pattern;
pub mod peers;
pub mod process;
mod records;
pub mod session;
pub mod settings;
pub mod signatures;
mod sockets;
pub mod storage;
pub mod store;
mod streams;
pub mod tls;
pub mod tuning;
mod verb;
pub mod web;
