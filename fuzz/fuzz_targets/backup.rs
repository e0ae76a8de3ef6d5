//! The manifest of a backup, and the names of backups.
#![no_main]

use atsign_secondary::backup::{Manifest, is_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _ = manifest.made_at();
        let written = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        assert_eq!(Manifest::parse(&written).expect("read again"), manifest);
    }
    if let Ok(name) = std::str::from_utf8(bytes)
        && is_name(name)
    {
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{name}");
    }
});
