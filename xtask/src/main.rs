//! cargo xtask up | down | test | generate, and the pinned test cluster.

fn main() {}
