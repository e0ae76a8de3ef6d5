//! Metadata, in fragments and in JSON, and what becomes of it in the store.
#![no_main]

use atsign_protocol::Command;
use atsign_protocol::verb::{Update, UpdateMeta};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for verb in ["update:", "update:json:", "update:meta:"] {
        let metadata = match Command::parse(&format!("{verb}{text}"), true) {
            Ok(Command::Update(Update { metadata, .. })) => metadata,
            Ok(Command::UpdateMeta(UpdateMeta { metadata, .. })) => metadata,
            _ => continue,
        };
        let now = 1_700_000_000_000;
        let Ok(stored) = metadata.apply(None, "@alice", now) else { continue };
        let (_, _) = (stored.is_expired(now), stored.is_active(now));
        serde_json::to_string(&stored).expect("metadata is JSON");
        // The same again, over what is stored.
        let _ = metadata.apply(Some(&stored), "@alice", now + 1);
    }
});
