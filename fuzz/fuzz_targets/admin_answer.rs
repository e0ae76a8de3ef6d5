//! What the operator and the backup command read from a server's admin port.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The file and not its crate, which would bring all of Kubernetes.
#[path = "../../operator/src/memory/response.rs"]
mod response;

use response::Response;

fuzz_target!(|bytes: &[u8]| {
    match response::read(bytes) {
        Response::Whole(body) => assert!(body.len() < bytes.len()),
        Response::Partial | Response::Refusal(_) | Response::Malformed => {}
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some((_, body)) = atsign_secondary::backup::response(text)
    {
        assert!(text.ends_with(body));
    }
});
