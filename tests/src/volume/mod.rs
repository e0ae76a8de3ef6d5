//! A volume that fails as it is told: a file system in the memory of the test, mounted with FUSE.
//!
//! It fills up, becomes read-only, answers an operation with an error, hangs, and loses power. What it promises is what
//! POSIX does and no more: only what was synced survives a loss of power, a new file's name only with its folder.

mod disk;
mod fuse;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use fuser::{BackgroundSession, Config, Errno, MountOption, SessionACL};

use disk::Disk;
use fuse::Server;

/// How the volume fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// Nothing new finds room (`ENOSPC`); what is there can be overwritten.
    Full,
    /// Nothing can be changed (`EROFS`).
    ReadOnly,
    /// Nothing is answered.
    Hanging,
    /// So many changes and syncs from now on succeed; the ones after them fail (`EIO`).
    Broken(u32),
    /// So many succeed, one fails (`EIO`), and the ones after it succeed again.
    Once(u32),
    /// Nothing is answered any more but with an error (`EIO`): the power is lost.
    Off,
}

/// What the server of the file system and the test share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    disk: Disk,
    fault: Fault,
    /// Changes and syncs since the fault was set.
    changes: u32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for one operation, once the volume answers.
    fn enter(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.lock();
        while state.fault == Fault::Hanging {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.fault == Fault::Off { Err(Errno::EIO) } else { Ok(state) }
    }
}

impl State {
    /// Whether something may be changed or synced.
    fn change(&mut self) -> Result<(), Errno> {
        let number = self.changes;
        self.changes += 1;
        match self.fault {
            Fault::ReadOnly => Err(Errno::EROFS),
            Fault::Broken(succeed) if number >= succeed => Err(Errno::EIO),
            Fault::Once(succeed) if number == succeed => Err(Errno::EIO),
            _ => Ok(()),
        }
    }

    /// Whether there is room for something new.
    fn grow(&mut self) -> Result<(), Errno> {
        self.change()?;
        if self.fault == Fault::Full { Err(Errno::ENOSPC) } else { Ok(()) }
    }
}

/// A mounted volume. Unmounted when dropped.
#[derive(Debug)]
pub struct FaultyVolume {
    folder: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl FaultyVolume {
    /// Mounts an empty volume over a folder.
    pub fn mount(folder: &Path) -> Result<Self> {
        let mut volume = Self { folder: folder.to_owned(), shared: Arc::default(), session: None };
        volume.attach()?;
        Ok(volume)
    }

    fn attach(&mut self) -> Result<()> {
        let mut options = Config::default();
        options.acl = SessionACL::All;
        options.mount_options =
            vec![MountOption::FSName("faulty".to_owned()), MountOption::DefaultPermissions];
        let server = Server(Arc::clone(&self.shared));
        let session = fuser::spawn_mount(server, &self.folder, &options)
            .with_context(|| format!("mounting a volume over {}: this needs root", self.folder.display()))?;
        self.session = Some(session);
        Ok(())
    }

    /// Makes it fail, or whole again.
    pub fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        (state.fault, state.changes) = (fault, 0);
        self.shared.changed.notify_all();
    }

    /// Whether the fault of [`Fault::Broken`] or [`Fault::Once`] has come.
    pub fn has_failed(&self) -> bool {
        let state = self.shared.lock();
        matches!(state.fault, Fault::Broken(succeed) | Fault::Once(succeed) if state.changes > succeed)
    }

    /// Loses the power at this instant: from now on nothing reaches the disk. Processes that use it see errors.
    pub fn lose_power(&self) {
        self.set(Fault::Off);
    }

    /// Brings it back after its users are gone, with what was on disk. `kept` is asked for each change that was not
    /// synced whether it had reached the disk nevertheless.
    pub fn power_on(&mut self, kept: impl FnMut() -> bool) -> Result<()> {
        self.detach();
        let left = self.shared.lock().disk.after_power_loss(kept);
        self.shared = Arc::default();
        self.shared.lock().disk = left;
        self.attach()
    }

    fn detach(&mut self) {
        let Some(session) = self.session.take() else { return };
        // What hangs would hang for ever.
        self.set(Fault::Off);
        // Lazily: a process that a failed test left behind may still have a file open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        drop(session);
    }
}

impl Drop for FaultyVolume {
    fn drop(&mut self) {
        self.detach();
    }
}
