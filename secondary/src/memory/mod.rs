//! The memory of one server: how much it may use, what it uses, what it needs, and who in it may have how much
//! (DESIGN.md section 5; docs/memory.md).
//!
//! [`gauge`] reads what the kernel counts. [`division`] says how a limit is divided, [`account`] who has taken how much
//! of that, [`need`] how much would be right. [`budget`] is these in one live value, which [`watch`] keeps up to date.

pub mod account;
pub mod budget;
pub mod division;
pub mod gauge;
mod heap;
mod lease;
pub mod level;
pub mod need;
pub mod watch;
pub mod working_set;

pub use account::Taker;
pub use budget::Budget;
pub use division::Shares;
pub use gauge::{Gauge, Memory};
pub use heap::{settle, trim};
pub use lease::Lease;
pub use level::Level;
