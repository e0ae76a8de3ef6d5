//! Keys: whatever is accepted is written as it is read.
#![no_main]

use atsign_protocol::AtKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(key) = AtKey::parse(text) else { return };
    let written = key.to_string();
    assert_eq!(AtKey::parse(&written).as_ref(), Ok(&key), "{written:?}");
});
