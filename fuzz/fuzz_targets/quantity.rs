//! Quantities of bytes in the API.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The file and not its crate, which would bring all of Kubernetes.
#[path = "../../crds/src/quantity.rs"]
mod quantity;

fuzz_target!(|text: &str| {
    if let Some(bytes) = quantity::bytes(text) {
        assert_eq!(
            quantity::bytes(&quantity::display(bytes)),
            Some(bytes),
            "written as it is read: {text:?}"
        );
    }
});
