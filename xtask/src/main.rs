//! cargo xtask up | down | test | generate, and the pinned test cluster.

#[allow(dead_code, reason = "the cluster's bring-up, written beside it, is its user")]
mod image;
#[allow(dead_code, unused_imports, reason = "the cluster's bring-up, written beside it, is its user")]
mod nfs;

fn main() {}
