//! What another server answers to `lookup:all`: read or refused, and what is read can be told on.
#![no_main]

use atsign_protocol::answer::{MetadataAnswer, read_whole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Some((_, metadata)) = read_whole(&text) {
        let told = MetadataAnswer(&metadata).to_json();
        assert!(!told.contains('\n'), "an answer is one line: {told:?}");
    }
});
