//! The values of options, as variables bring them.
#![no_main]

use std::cell::Cell;

use atsign_secondary::options::Flags;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (chosen, value) = input;
    // The variable that is asked for as number `chosen` has the value; the atSign is always there.
    let asked = Cell::new(0_u8);
    let resolved = Flags::default().resolve(|name| {
        asked.set(asked.get().wrapping_add(1));
        match name {
            _ if asked.get() == chosen => Some(value.to_owned()),
            "ATSIGN_AT_SIGN" => Some("@alice".to_owned()),
            _ => None,
        }
    });
    if let Err(error) = resolved {
        assert!(!error.reason.is_empty() && !error.name.is_empty());
    }
});
