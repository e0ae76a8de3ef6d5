//! The atDirectory (root server).

fn main() {}
