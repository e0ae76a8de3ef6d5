//! What a directory has from its sources: lines of a file, and the address in a resource's status.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The file and not its crate, which would bring all of Kubernetes.
#[allow(dead_code, reason = "the rest has a target of its own")]
#[path = "../../directory/src/record.rs"]
mod record;

fuzz_target!(|text: &str| {
    match record::lines(text) {
        Ok(records) => {
            for (name, address) in records {
                let line = format!("{name} {address}");
                assert_eq!(record::lines(&line), Ok(vec![(name, address)]), "written as it is read");
            }
        }
        Err(error) => assert!(error.starts_with("line "), "{error}"),
    }
    if let Some(published) = record::published(text) {
        assert!(record::is_address(&published), "{published:?}");
    }
});
