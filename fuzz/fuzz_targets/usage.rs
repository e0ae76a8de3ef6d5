//! What a server tells the operator about itself.
#![no_main]

use atsign_protocol::Usage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(usage) = serde_json::from_slice::<Usage>(json) else { return };
    let written = serde_json::to_vec(&usage).expect("a usage is JSON");
    assert_eq!(serde_json::from_slice::<Usage>(&written).expect("read again"), usage);
});
