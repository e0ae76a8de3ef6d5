//! Reconciles AtSign resources into running secondary servers.

fn main() {}
