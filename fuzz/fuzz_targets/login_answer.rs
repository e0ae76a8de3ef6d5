//! What a server answers while an atSign is activated.
#![no_main]

use atsign_keys::complete;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(answer) = complete(bytes) {
        assert!(!answer.contains('\n'), "an answer is one line: {answer:?}");
        assert!(answer.starts_with("data:") || answer.starts_with("error:"), "{answer:?}");
        let more = [bytes, b"@"].concat();
        assert_eq!(complete(&more), Some(answer), "what comes later does not change it");
    }
});
