//! What another server sends: the same lines however they are cut, and proof that it took us for who we are.
#![no_main]

use atsign_protocol::AtSign;
use atsign_secondary::peers::answers::{Received, challenge, is_for};
use libfuzzer_sys::fuzz_target;

/// The lines up to the first that is no text.
fn lines(bytes: &[u8], step: usize) -> Vec<String> {
    let mut received = Received::default();
    let mut lines = Vec::new();
    for chunk in bytes.chunks(step) {
        received.bytes().extend_from_slice(chunk);
        loop {
            match received.line() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(_) => return lines,
            }
        }
    }
    lines
}

fn at_sign(text: &str) -> AtSign {
    AtSign::parse(text).expect("an atSign")
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let (own, alice) = (at_sign("@bob"), at_sign("@alice"));
    let whole = lines(bytes, bytes.len().max(1));
    assert_eq!(lines(bytes, usize::from(step).max(1)), whole);
    for line in &whole {
        assert!(!line.contains('\n'));
        if let Ok((session, text)) = challenge(line) {
            // It becomes the name of a proof, and what is signed.
            assert!(session.starts_with('_') && !session.contains('@') && !text.contains(':'));
            assert!(!text.starts_with("pol1.") || !is_for(text, &alice) || !is_for(text, &own));
        }
    }
    let mut received = Received::default();
    received.bytes().extend_from_slice(bytes);
    if received.is_proven(&own) {
        assert!(bytes.starts_with(b"@bob@") || bytes.starts_with(b"@@bob@"));
    }
});
