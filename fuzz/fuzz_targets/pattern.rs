//! Regular expressions of clients: bounded in size, and so in time.
#![no_main]

use atsign_secondary::pattern::compile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (pattern, key) = input;
    for owner in [false, true] {
        match compile(pattern, owner) {
            Ok(regex) => drop(regex.is_match(key)),
            Err(error) => assert!(!error.message().is_empty()),
        }
    }
});
