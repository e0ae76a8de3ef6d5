//! The addresses of pages: whatever is found is a public key of the server's own atSign.
#![no_main]

use atsign_protocol::{AtSign, Visibility};
use atsign_secondary::web::page;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let own = AtSign::parse("@alice").expect("an atSign");
    let Some(key) = page::key(path, &own) else { return };
    assert_eq!((&key.owner, &key.visibility, key.cached), (&own, &Visibility::Public, false), "{path:?}");
    assert!(!page::kind(&key.entity).is_empty());
});
