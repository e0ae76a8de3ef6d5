//! `limits.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The file and not its crate, which would bring SQLite.
#[allow(dead_code, reason = "the file is read elsewhere")]
#[path = "../../secondary/src/limits.rs"]
mod limits;

fuzz_target!(|json: &[u8]| {
    let _ = limits::Limits::parse(json);
});
