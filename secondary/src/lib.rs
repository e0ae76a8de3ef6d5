//! One atSign's secondary server (atServer).

pub mod epoch;
pub mod store;
pub mod atserver;
pub mod connections;
pub mod listener;
mod session;
pub mod tls;
mod verb;
