//! An atSign's keys: made, kept in the files of the SDKs, and handed to its server once.
//!
//! [`Keys`] are an owner's keys and their `.atKeys` file; [`Connection`] speaks to a server over whatever stream leads
//! there; [`onboard`] is what an SDK's activation tool does.

mod connection;
mod keys;
mod onboarding;

pub use connection::{Connection, complete};
pub use keys::{Keys, write_private};
pub use onboarding::{is_unfinished, new_secret, onboard};
