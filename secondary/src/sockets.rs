//! What the kernel may hold for a connection.

use rustix::fd::AsFd;
use rustix::net::sockopt;

/// Bytes that wait in each direction, of which the kernel makes twice as many for its own part. By itself it holds
/// megabytes for a client that does not read, and a control group of version 2 is charged for them.
const BUFFER: usize = 32 * 1024;

/// Settles a connection's buffers, and has short lines sent at once.
pub(crate) fn settle(stream: &impl AsFd) {
    // A kernel that refuses leaves it as it was: larger, and otherwise the same.
    let _ = sockopt::set_socket_send_buffer_size(stream, BUFFER);
    let _ = sockopt::set_socket_recv_buffer_size(stream, BUFFER);
    let _ = sockopt::set_tcp_nodelay(stream, true);
}
