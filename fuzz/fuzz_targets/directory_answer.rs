//! What a directory answers: to a server that looks another one up, and to a directory whose upstream it is.
#![no_main]

use atsign_secondary::peers::answers;
use libfuzzer_sys::fuzz_target;

// The file and not its crate, which would bring all of Kubernetes.
#[allow(dead_code, reason = "the rest has a target of its own")]
#[path = "../../directory/src/record.rs"]
mod record;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(line) = std::str::from_utf8(bytes)
        && let Ok(Some(address)) = answers::address(line)
    {
        assert!(address.port > 0 && !address.host.is_empty());
    }
    if let Ok(Some(address)) = record::answer(bytes) {
        // It is sent on as a line of its own, and must be an address for whoever reads that.
        assert!(!address.contains(|c: char| c.is_whitespace() || c.is_control()), "{address:?}");
        assert!(record::is_address(&address));
    }
});
