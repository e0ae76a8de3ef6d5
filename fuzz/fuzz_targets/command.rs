//! Command lines, as a stranger and as the owner sends them.
#![no_main]

use atsign_protocol::{Command, ErrorStyle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The session cuts there.
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    for owner in [false, true] {
        if let Err(error) = Command::parse(&line, owner) {
            for json in [false, true] {
                let told = error.line(ErrorStyle { owner, json });
                assert!(!told.contains('\n'), "an answer is one line: {told:?}");
            }
        }
    }
});
