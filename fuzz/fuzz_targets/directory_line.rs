//! What a client sends to the directory: the same requests, however it is cut, and a bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The file and not its crate, which would bring all of Kubernetes.
#[path = "../../directory/src/line.rs"]
mod line;

use line::{Lines, MAX_LINE, Request};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let mut lines = Lines::default();
    for chunk in bytes.chunks(usize::from(step).max(1)) {
        lines.receive(chunk);
        while let Some(request) = lines.next_request() {
            match request {
                Request::Find(line) => {
                    // A byte that is no UTF-8 becomes a character of three.
                    assert!(line.len() < 3 * MAX_LINE && !line.contains('\n'), "{line:?}");
                    assert_eq!(line.trim(), line);
                }
                Request::Exit | Request::Overflow => return,
            }
        }
    }
});
