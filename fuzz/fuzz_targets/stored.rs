//! What a store holds as JSON, which a restored one may bring from anywhere: metadata, and enrollments.
#![no_main]

use atsign_protocol::answer::MetadataAnswer;
use atsign_protocol::{Enrollment, Metadata};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let now = 1_700_000_000_000;
    if let Ok(metadata) = serde_json::from_slice::<Metadata>(json) {
        let (_, _) = (metadata.is_expired(now), metadata.is_active(now));
        assert!(!MetadataAnswer(&metadata).to_json().contains('\n'));
        let written = serde_json::to_vec(&metadata).expect("metadata is JSON");
        let read: Metadata = serde_json::from_slice(&written).expect("read again");
        assert_eq!(read, metadata);
    }
    if let Ok(enrollment) = serde_json::from_slice::<Enrollment>(json) {
        let written = serde_json::to_vec(&enrollment).expect("an enrollment is JSON");
        let read: Enrollment = serde_json::from_slice(&written).expect("read again");
        assert_eq!(read, enrollment);
    }
});
