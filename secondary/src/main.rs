//! One atSign's secondary server (atServer).

fn main() {}
