//! The write-ahead log that an earlier server left.
#![no_main]

use atsign_secondary::store::wal::inspect_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|log: &[u8]| {
    let told = inspect_bytes(&mut &log[..]).expect("reading memory does not fail");
    if let Err(damage) = told {
        assert!(!damage.is_empty());
    }
});
