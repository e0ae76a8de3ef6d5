//! The file of an epoch, which another server wrote.
#![no_main]

use atsign_secondary::epoch::files::Epoch;
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 4096;

fuzz_target!(|blocks: [&[u8]; 4]| {
    // Each fact in a block of its own, as it would be found by a mutation of 16 KiB only after days.
    let mut file = vec![0; 4 * BLOCK];
    for (index, text) in blocks.iter().enumerate() {
        let text = &text[..text.len().min(BLOCK)];
        file[index * BLOCK..][..text.len()].copy_from_slice(text);
    }
    let _ = Epoch::parse(&file);
    assert!(Epoch::parse(&file[1..]).is_err(), "a file that is cut short");
});
