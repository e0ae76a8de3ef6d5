//! Other atSigns' servers: how they are found, asked, and shown who we are (reference page section 3.8).

pub mod answers;
mod connection;
mod directory;
mod pool;
mod proofs;
mod signing;
mod trust;

use std::io;

use atsign_protocol::{AtError, AtSign, ErrorCode};

pub use pool::Peers;
pub(crate) use pool::{Answered, Purpose};
pub(crate) use signing::Signing;

/// Why another server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The directory does not know it.
    #[error("the directory does not know {0}")]
    Unknown(AtSign),
    /// The directory does not answer.
    #[error("the directory does not answer: {0}")]
    Directory(String),
    /// There is no way to it, or it is not who it says it is.
    #[error("cannot connect to {at_sign} at {address}: {reason}")]
    Connect {
        /// Whose server.
        at_sign: AtSign,
        /// Where it should be.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// It did not take us for who we are.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// Too much is being asked of others already.
    #[error("too many connections to other servers")]
    Busy,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The answer is longer than there is room for.
    #[error("there is no room for the answer in the memory of this server, try again later")]
    NoRoom,
    /// The answer is none.
    #[error("the answer cannot be used: {0}")]
    Garbled(&'static str),
}

impl From<PeerError> for AtError {
    fn from(error: PeerError) -> Self {
        let code = match error {
            PeerError::Unknown(_) | PeerError::Directory(_) => ErrorCode::SecondaryNotFound,
            PeerError::Connect { .. } => ErrorCode::SecondaryConnect,
            PeerError::Handshake(_) => ErrorCode::Handshake,
            PeerError::Timeout => ErrorCode::Timeout,
            PeerError::Busy => ErrorCode::OutboundConnectionLimit,
            PeerError::Broken(_) => ErrorCode::Socket,
            PeerError::NoRoom => ErrorCode::BufferOverflow,
            PeerError::Garbled(_) => ErrorCode::InternalServerException,
        };
        let told = Self::new(code, error.to_string());
        // Its connection was closed, not the client's.
        if code == ErrorCode::BufferOverflow { told.and_stay() } else { told }
    }
}
