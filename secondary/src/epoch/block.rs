//! Files that are read and written in aligned blocks, past the page cache.
//!
//! What another machine wrote must be seen at once, so these reads go to the server of the volume. A file system that
//! refuses `O_DIRECT` is a local one, and there the page cache is what everybody sees.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::volume::{Blockwise, Open};

/// Size and alignment of a block: what every device and every NFS server accepts for `O_DIRECT`.
pub const BLOCK: usize = 4096;

/// A buffer that starts at a multiple of [`BLOCK`].
#[derive(Debug)]
pub struct Blocks {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Blocks {
    /// A buffer of `count` blocks of zeros.
    pub fn zeroed(count: usize) -> Self {
        let length = count * BLOCK;
        let bytes = vec![0; length + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start, length }
    }

    /// One block that begins with `text`, the rest zeros.
    ///
    /// # Panics
    /// Where the text is longer than a block.
    pub fn with_text(text: &str) -> Self {
        let mut block = Self::zeroed(1);
        block.as_mut()[..text.len()].copy_from_slice(text.as_bytes());
        block
    }
}

impl AsRef<[u8]> for Blocks {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl AsMut<[u8]> for Blocks {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

/// The text at the start of a block, up to the first zero.
pub fn text(block: &[u8]) -> io::Result<&str> {
    let end = block.iter().position(|byte| *byte == 0).unwrap_or(block.len());
    std::str::from_utf8(&block[..end]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// An open file of blocks.
#[derive(Debug)]
pub struct BlockFile {
    file: File,
}

impl BlockFile {
    /// Opens a file.
    pub fn open(path: &Path, how: Open) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Open::Read).create(how == Open::Create).mode(0o640);
        match options.custom_flags(direct_flag()).open(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                options.custom_flags(0).open(path).map(|file| Self { file })
            }
            opened => opened.map(|file| Self { file }),
        }
    }
}

impl Blockwise for BlockFile {
    fn read(&self, first: usize, blocks: &mut Blocks) -> io::Result<usize> {
        let mut filled = 0;
        let buffer = blocks.as_mut();
        while filled < buffer.len() {
            // After a short read that is not a multiple of a block, the file has ended.
            match self.file.read_at(&mut buffer[filled..], (first * BLOCK + filled) as u64) {
                Ok(0) => break,
                Ok(count) if count % BLOCK != 0 => return Ok(filled + count),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write(&self, first: usize, blocks: &Blocks) -> io::Result<()> {
        self.file.write_all_at(blocks.as_ref(), (first * BLOCK) as u64)
    }

    fn extend_to_one_block(&self) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(&self.file, BLOCK as u64)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn direct_flag() -> i32 {
    OFlags::DIRECT.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_as_long_as_asked() {
        let blocks = Blocks::zeroed(3);
        assert_eq!(blocks.as_ref().len(), 3 * BLOCK);
        assert_eq!(blocks.as_ref().as_ptr().align_offset(BLOCK), 0);
    }

    #[test]
    fn what_one_descriptor_wrote_another_reads_and_extending_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("blocks");
        let writer = BlockFile::open(&path, Open::Create).expect("create");
        writer.write(0, &Blocks::with_text("sealed")).expect("write");
        writer.extend_to_one_block().expect("extend");
        let mut seen = Blocks::zeroed(1);
        let count = BlockFile::open(&path, Open::Read).expect("open").read(0, &mut seen).expect("read");
        assert_eq!((count, text(seen.as_ref()).expect("text")), (BLOCK, "sealed"));
    }
}
