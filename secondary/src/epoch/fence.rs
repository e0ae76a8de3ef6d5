//! The fence: the holder's own seal, read after every fsync and before anything of it is answered.

use std::io;
use std::path::Path;

use super::block::{BLOCK, Blocks};
use super::volume::{Blockwise, Open, Volume};

/// What a successor fills a seal with.
const FILL: u8 = b'S';

/// What the fence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// No successor had set the seal when this was read: what was on disk before is in whatever a successor copies.
    Clear,
    /// Somebody else took the store. Nothing may be answered any more, for ever.
    Sealed,
}

/// The holder's own seal, on a descriptor that it keeps: a fresh open could find another file.
#[derive(Debug)]
pub struct Fence<F> {
    pub(super) seal: F,
    pub(super) buffer: Blocks,
}

impl<F: Blockwise> Fence<F> {
    /// Opens the holder's own seal and extends it to one block. What a successor may already have written stays.
    pub fn open(volume: &impl Volume<File = F>, path: &Path) -> io::Result<Self> {
        let seal = volume.open(path, Open::Create)?;
        seal.extend_to_one_block()?;
        seal.sync()?;
        Ok(Self { seal, buffer: Blocks::zeroed(1) })
    }

    /// Reads the seal past the page cache. An error is no confirmation.
    pub fn read(&mut self) -> io::Result<Reading> {
        // A read that does not fill the buffer must not leave an old answer in it.
        self.buffer.as_mut().fill(FILL);
        let count = self.seal.read(0, &mut self.buffer)?;
        if count < BLOCK {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the seal is shorter than a block"));
        }
        let clear = self.buffer.as_ref().iter().all(|byte| *byte == 0);
        Ok(if clear { Reading::Clear } else { Reading::Sealed })
    }
}

/// Sets the seal of a lower epoch, creating it where it is missing, and returns once it is on disk and read back.
pub fn seal(volume: &impl Volume, path: &Path) -> io::Result<()> {
    let mut block = Blocks::zeroed(1);
    block.as_mut().fill(FILL);
    let file = volume.open(path, Open::Create)?;
    file.write(0, &block)?;
    file.sync()?;
    block.as_mut().fill(0);
    let count = file.read(0, &mut block)?;
    if count < BLOCK || block.as_ref().iter().any(|byte| *byte != FILL) {
        return Err(io::Error::other(format!("the seal {} did not keep what was written", path.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::volume::Mounted;

    #[test]
    fn a_fence_is_clear_until_a_successor_seals_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.seal");
        let mut fence = Fence::open(&Mounted, &path).expect("open");
        assert_eq!(fence.read().expect("read"), Reading::Clear);
        seal(&Mounted, &path).expect("seal");
        assert_eq!(fence.read().expect("read"), Reading::Sealed);
    }

    #[test]
    fn a_holder_that_opens_its_seal_late_does_not_clear_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.seal");
        seal(&Mounted, &path).expect("seal");
        assert_eq!(Fence::open(&Mounted, &path).expect("open").read().expect("read"), Reading::Sealed);
    }

    #[test]
    fn a_seal_that_was_cut_short_confirms_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1.seal");
        let mut fence = Fence::open(&Mounted, &path).expect("open");
        std::fs::File::options().write(true).open(&path).expect("open").set_len(0).expect("cut");
        assert!(fence.read().is_err());
    }
}
