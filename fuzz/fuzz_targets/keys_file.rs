//! `.atKeys` files.
#![no_main]

use atsign_keys::Keys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Ok(keys) = Keys::parse(json) {
        keys.pkam_public_key().expect("a key that was read can be written");
        keys.encryption_public_key().expect("a key that was read can be written");
        assert!(!keys.sign("a challenge").is_empty());
    }
});
