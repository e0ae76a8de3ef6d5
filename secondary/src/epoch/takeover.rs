//! Taking the store over: wait until somebody may, take the next number, seal what is below, choose what to go on
//! from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::boottime;
use super::copy::{Copied, copy};
use super::decision::{Decision, FolderLock, choose, decide, in_place_thinkable};
use super::fence::{Fence, Reading};
use super::files::{Epoch, EpochFiles, Identity, OwnEpoch, data_name, sync_directory};
use super::holding::Holding;
use super::lease::{Sign, Term, Watch};

/// So often a copy that stood still but does not pass its check is taken again before the source counts as damaged.
const CHECKS: u32 = 3;

/// What a data folder holds. The epochs know files; the store knows what is in them.
pub trait Contents {
    /// Names of the files that make the store; a copy takes those that exist.
    const FILES: &'static [&'static str];
    /// Makes an empty store in a folder that is empty. On disk when it returns.
    fn create(&self, folder: &Path) -> Result<(), TakeoverError>;
    /// Checks a copy thoroughly, and leaves it on disk.
    fn check(&self, folder: &Path) -> Result<(), TakeoverError>;
}

/// Why the store cannot be had, ever, without somebody's help.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The directory was made for somebody else.
    #[error(
        "{path} holds the data of {found}, not of {expected}: give each atSign a storage directory of its own"
    )]
    OtherAtSign {
        /// The storage directory.
        path: PathBuf,
        /// Whose data it is.
        found: String,
        /// Whose server this is.
        expected: String,
    },
    /// The store is whole, but not for this version of the server.
    #[error("{0}")]
    Unsuitable(String),
    /// Something that must be there is not, or is not what it was.
    #[error("{0}")]
    Damaged(String),
    /// The volume refuses, in a way that waiting may or may not cure.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What a claimant does while it does not have the store yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Somebody holds it.
    Waiting {
        /// The highest epoch.
        number: u64,
        /// Its holder.
        holder: String,
        /// When the holder took it, Unix seconds by its clock.
        since: i64,
        /// For how long it was seen silent, of the silence that is needed.
        silent: Duration,
    },
    /// It takes a copy of an earlier epoch's store.
    Copying {
        /// That epoch.
        from: u64,
    },
    /// The volume has no room for the copy.
    NeedsSpace {
        /// Bytes of the source.
        needed: u64,
        /// Bytes left.
        available: u64,
    },
    /// The volume answered with an error; it is tried again.
    Failing(String),
}

/// Who wants the store.
pub struct Claimant<C> {
    /// The epochs' files.
    pub files: EpochFiles,
    /// Whose data it must be.
    pub at_sign: String,
    /// The pod's UID, or the machine's boot id.
    pub holder: String,
    /// The times of the lease.
    pub term: Term,
    /// What a data folder holds.
    pub contents: C,
    /// Holders that were attested dead, asked anew at each look.
    pub dead: Box<dyn FnMut() -> Vec<String> + Send>,
    /// Is told what the claimant waits for.
    pub report: Box<dyn FnMut(Progress) + Send>,
}

/// Where an attempt starts from.
enum Start {
    InPlace { data: String, lock: FolderLock },
    Copy,
}

impl<C: Contents> Claimant<C> {
    /// Waits until the store is ours. Errors that may pass are waited out; the others end it.
    pub fn take_over(&mut self) -> Result<Holding, TakeoverError> {
        let pause = (self.term.silence / 33).min(Duration::from_secs(1));
        let mut watch = Watch::default();
        loop {
            match self.look(&mut watch) {
                Ok(Some(holding)) => return Ok(holding),
                Ok(None) => {}
                Err(TakeoverError::Io(error)) if may_pass(&error) => {
                    (self.report)(Progress::Failing(error.to_string()));
                }
                Err(error) => return Err(error),
            }
            std::thread::sleep(pause);
        }
    }

    /// One look at the highest epoch, and an attempt where that is allowed.
    fn look(&mut self, watch: &mut Watch) -> Result<Option<Holding>, TakeoverError> {
        let began = boottime();
        let Some(numbers) = self.files.numbers()? else {
            return self.attempt(1, Start::Copy);
        };
        let Some(highest) = self.files.read(numbers.highest)? else { return Ok(None) };
        let ended = boottime();
        self.check_at_sign(&highest)?;

        let Identity { token, holder, data, since, .. } = highest.identity.clone();
        let sign = Sign { number: numbers.highest, token, renewals: highest.renewals };
        let silent = watch.silent(sign, began, ended, self.term.silence);
        let expired = silent || (self.dead)().contains(&holder);
        let lock = if in_place_thinkable(&highest, &self.holder) { Some(self.lock(&data)?) } else { None };
        match (decide(&highest, &self.holder, lock.as_ref(), expired), lock) {
            (Decision::InPlace, Some(lock)) => {
                self.attempt(numbers.highest + 1, Start::InPlace { data, lock })
            }
            (Decision::Copy, _) => self.attempt(numbers.highest + 1, Start::Copy),
            _ => {
                let silent = watch.silent_for(boottime());
                (self.report)(Progress::Waiting { number: numbers.highest, holder, since, silent });
                Ok(None)
            }
        }
    }

    /// Takes `number` and makes it complete. `None`: somebody else was faster; look again.
    fn attempt(&mut self, number: u64, start: Start) -> Result<Option<Holding>, TakeoverError> {
        let data = match &start {
            Start::InPlace { data, .. } => data.clone(),
            Start::Copy => data_name(number),
        };
        let identity = Identity {
            token: uuid::Uuid::new_v4().to_string(),
            holder: self.holder.clone(),
            at_sign: self.at_sign.clone(),
            data: data.clone(),
            since: unix_seconds(),
        };
        let Some(mut own) = self.files.claim(number, &identity)? else { return Ok(None) };
        // Before the list: a seal that is opened only now, with no higher number to be seen after it, is the one that
        // every successor will fill.
        let mut fence = self.files.fence(number)?;
        let Some(numbers) = self.files.numbers()? else { return Ok(None) };
        if numbers.highest > number {
            return Ok(None);
        }
        if !self.no_orphans(number)? {
            return Ok(None);
        }
        self.files.seal_below(number, numbers.lowest)?;

        let folder = self.files.data_folder(&data);
        let lock = match start {
            Start::InPlace { lock, .. } => lock,
            Start::Copy => {
                // The choice comes after the seals: what a lower epoch completes from now on, it cannot serve.
                let source = choose(number, numbers.lowest, |number| self.files.read(number))?;
                fs::create_dir(&folder)?;
                let lock = FolderLock::try_lock(&folder)?;
                match source {
                    None => self.contents.create(&folder)?,
                    Some((from, epoch)) => {
                        self.check_at_sign(&epoch)?;
                        if !self.fill(from, &epoch, &folder, &mut own, &mut fence)? {
                            return Ok(None);
                        }
                    }
                }
                sync_directory(&folder)?;
                sync_directory(self.files.storage())?;
                lock
            }
        };
        own.set_complete()?;
        if fence.read()? == Reading::Sealed {
            return Ok(None);
        }
        Ok(Some(Holding { own, fence, identity, folder, files: self.files.clone(), _lock: lock }))
    }

    /// Copies the store of an earlier epoch, until a copy is whole and passes its check. Renews meanwhile; false where
    /// a successor seals us.
    fn fill(
        &mut self,
        from: u64,
        epoch: &Epoch,
        folder: &Path,
        own: &mut OwnEpoch,
        fence: &mut Fence,
    ) -> Result<bool, TakeoverError> {
        let source = self.files.data_folder(&epoch.identity.data);
        if !source.join(C::FILES[0]).exists() {
            let missing = source.join(C::FILES[0]);
            return Err(TakeoverError::Damaged(format!(
                "{}, of epoch {from}, is missing",
                missing.display()
            )));
        }
        let term = self.term;
        (self.report)(Progress::Copying { from });
        renew_while(own, fence, term, |sealed| {
            let mut checks = 0;
            while !sealed() {
                match copy(&source, folder, C::FILES, sealed)? {
                    Copied::Whole => match self.contents.check(folder) {
                        Err(TakeoverError::Damaged(reason)) => {
                            checks += 1;
                            if checks == CHECKS {
                                let source = source.display();
                                let text =
                                    format!("the store in {source}, of epoch {from}, is damaged: {reason}");
                                return Err(TakeoverError::Damaged(text));
                            }
                        }
                        checked => return checked.map(|()| !sealed()),
                    },
                    Copied::NoRoom { needed, available } => {
                        (self.report)(Progress::NeedsSpace { needed, available });
                    }
                    Copied::Moved | Copied::Stopped => {}
                }
                std::thread::sleep(term.silence / 33);
            }
            Ok(false)
        })
    }

    fn lock(&self, data: &str) -> Result<FolderLock, TakeoverError> {
        let folder = self.files.data_folder(data);
        FolderLock::try_lock(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                TakeoverError::Damaged(format!("the data folder {} is missing", folder.display()))
            }
            _ => error.into(),
        })
    }

    pub(super) fn check_at_sign(&self, epoch: &Epoch) -> Result<(), TakeoverError> {
        if epoch.identity.at_sign == self.at_sign {
            return Ok(());
        }
        Err(TakeoverError::OtherAtSign {
            path: self.files.storage().to_owned(),
            found: epoch.identity.at_sign.clone(),
            expected: self.at_sign.clone(),
        })
    }

    /// A data folder of our own number, or of a higher one, was made by an epoch whose file is gone: an error. False:
    /// its epoch is there, so a successor was faster than our list.
    pub(super) fn no_orphans(&self, own: u64) -> Result<bool, TakeoverError> {
        let Some(number) = self.files.highest_data_folder()?.filter(|number| *number >= own) else {
            return Ok(true);
        };
        if number > own && self.files.read(number)?.is_some() {
            return Ok(false);
        }
        Err(TakeoverError::Damaged(format!(
            "{} is there but its epoch is not: the directory of epochs is not the one of this store",
            self.files.data_folder(&data_name(number)).display()
        )))
    }
}

/// Does `work` while another thread renews our own epoch. `work` may ask whether a successor has sealed us.
pub(super) fn renew_while<T>(
    own: &mut OwnEpoch,
    fence: &mut Fence,
    term: Term,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, TakeoverError>,
) -> Result<T, TakeoverError> {
    let sealed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Dropping the sender at the end of `work` ends the thread.
        let (working, ended) = channel::<()>();
        std::thread::Builder::new().name("renewal".to_owned()).stack_size(64 * 1024).spawn_scoped(
            scope,
            || {
                let ended = ended;
                // An error of the volume is a renewal less; another then finds us silent, which is what we are.
                while matches!(ended.recv_timeout(term.renewal), Err(RecvTimeoutError::Timeout)) {
                    let _ = own.renew();
                    if matches!(fence.read(), Ok(Reading::Sealed)) {
                        sealed.store(true, Ordering::Release);
                    }
                }
            },
        )?;
        let done = work(&|| sealed.load(Ordering::Acquire));
        drop(working);
        done
    })
}

/// Errors of a volume that a person must cure are reported at once; the others are waited out.
fn may_pass(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
    )
}

pub(super) fn unix_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}
