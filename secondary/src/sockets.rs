//! What the kernel may hold for a connection. A control group of version 2 is charged for it, and nobody can take it back:
//! by itself the kernel holds megabytes for a client that does not read.

use rustix::fd::AsFd;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};

/// Bytes that wait in each direction, of which the kernel makes twice as many for its own part: of a stranger, so much; of
/// others between these, a part of the memory limit.
const STRANGERS: usize = 4 << 10;
const LEAST: usize = 16 << 10;
const MOST: usize = 64 << 10;
const PART: u64 = 384;

/// A connection of which the kernel holds something.
pub(crate) trait Socket {
    /// Lets it hold more than a stranger's part. `limit`: of the server's memory, 0 for none.
    fn widen(&self, limit: u64);
}

impl Socket for TcpStream {
    fn widen(&self, limit: u64) {
        bound(self, part_of(limit));
    }
}

/// Bounds what is held of connections that come to a listener, from their first byte on.
pub(crate) fn bound_strangers(listener: &TcpListener) {
    bound(listener, STRANGERS);
}

/// Bounds what is held of a connection that we make.
pub(crate) fn bound_own(stream: &TcpStream) {
    bound(stream, LEAST);
}

/// A kernel that refuses leaves it as it was: larger, and otherwise the same.
fn bound(socket: &impl AsFd, bytes: usize) {
    let _ = sockopt::set_socket_send_buffer_size(socket, bytes);
    let _ = sockopt::set_socket_recv_buffer_size(socket, bytes);
}

fn part_of(limit: u64) -> usize {
    match usize::try_from(limit / PART) {
        Ok(0) | Err(_) => MOST,
        Ok(part) => part.clamp(LEAST, MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_server_lets_the_kernel_hold_more_up_to_an_end() {
        assert_eq!(
            [0, 6 << 20, 12 << 20, 24 << 20, 1 << 30].map(part_of),
            [MOST, LEAST, 2 * LEAST, MOST, MOST]
        );
    }
}
