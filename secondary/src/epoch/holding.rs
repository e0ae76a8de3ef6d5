//! An epoch that is ours: what a holder does with it until it ends.

use std::io;
use std::path::{Path, PathBuf};

use super::decision::FolderLock;
use super::fence::{Fence, Reading};
use super::files::{EpochFiles, Identity, KEPT, OwnEpoch};
use super::lease::Lease;
use super::volume::{Mounted, Volume};

/// An epoch that is ours and complete: the right to write in its data folder.
#[derive(Debug)]
pub struct Holding<V: Volume = Mounted> {
    pub(super) own: OwnEpoch<V::File>,
    pub(super) fence: Fence<V::File>,
    pub(super) identity: Identity,
    pub(super) folder: PathBuf,
    pub(super) files: EpochFiles<V>,
    /// Kept for life.
    pub(super) _lock: FolderLock<V::Lock>,
}

impl<V: Volume> Holding<V> {
    /// The number of the epoch.
    pub fn number(&self) -> u64 {
        self.own.number()
    }

    /// Who holds it: us.
    pub fn holder(&self) -> &str {
        &self.identity.holder
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads the fence. Whatever was on disk before this was called may be answered if it is clear.
    pub fn read_fence(&mut self) -> io::Result<Reading> {
        self.fence.read()
    }

    /// Renews the lease: one more on our counter, then a look at the seal, and only then a confirmation.
    pub fn renew(&mut self, lease: &Lease) -> io::Result<Reading> {
        let began = self.files.volume().boottime();
        self.own.renew()?;
        let reading = self.fence.read()?;
        if reading == Reading::Clear {
            lease.confirm(began);
        }
        Ok(reading)
    }

    /// Removes what earlier epochs left behind. Call it once this one serves.
    pub fn tidy(&self) -> io::Result<()> {
        self.tidy_keeping(KEPT)
    }

    /// The same with another number of epochs that are kept.
    pub(super) fn tidy_keeping(&self, kept: u64) -> io::Result<()> {
        self.files.tidy(self.own.number(), &self.identity.data, kept)
    }

    /// Says that this was a clean stop: the store is closed and on disk. Not where a successor has sealed us.
    pub fn release(mut self) -> io::Result<Reading> {
        let reading = self.fence.read()?;
        if reading == Reading::Clear {
            self.own.set_released()?;
        }
        Ok(reading)
    }
}
