//! atSigns: whatever is accepted is normal, and has a name that Kubernetes accepts.
#![no_main]

use atsign_protocol::{AtSign, object_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(at_sign) = AtSign::parse(text) else { return };
    assert_eq!(AtSign::parse(at_sign.as_str()).as_ref(), Ok(&at_sign), "normal twice");
    let name = object_name(&at_sign);
    assert!((1..=52).contains(&name.len()), "{name}");
    assert!(name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-'), "{name}");
    assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
});
