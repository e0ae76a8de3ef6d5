//! What the admin port is sent: heads of requests, and what is asked for in them.
#![no_main]

use atsign_secondary::admin::waiting::Wait;
use atsign_secondary::admin::{backup, http, shrink_to, token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    let Ok(Some(request)) = http::parse(head) else { return };
    let query = request.uri().query();
    if let Err(reason) = Wait::parse(query) {
        assert!(!reason.is_empty());
    }
    if let Ok(kept) = backup::kept(query) {
        assert!(kept > 0);
    }
    if let Some(name) = query.and_then(backup::named) {
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{name}");
    }
    assert_ne!(shrink_to(query), Some(0));
    for value in request.headers().values() {
        if let Some(shown) = token::bearer(value.as_bytes()) {
            assert!(shown.len() < value.len());
        }
    }
});
