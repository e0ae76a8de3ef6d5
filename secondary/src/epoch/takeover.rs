//! Taking the store over: wait until somebody may, take the next number, seal what is below, choose what to go on
//! from.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::boottime;
use super::copy::{Copied, copy};
use super::fence::{Fence, Reading};
use super::files::{Epoch, EpochFiles, Identity, OwnEpoch, data_name, sync_directory};
use super::lease::{Lease, Sign, Term, Watch};

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

/// What a claimant may do about the highest epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Somebody has it, or may have it.
    Wait,
    /// Go on in its data folder.
    InPlace,
    /// Take a copy of the highest complete epoch.
    Copy,
}

/// The lock file of a data folder. Every holder keeps it locked for life.
#[derive(Debug)]
pub enum FolderLock {
    /// Ours until the descriptor is closed.
    Held(File),
    /// Another process of this machine has it.
    Busy,
    /// The file system has no such locks; then nobody holds one.
    Unsupported,
}

impl FolderLock {
    /// Tries to lock a folder that exists.
    pub fn try_lock(folder: &Path) -> io::Result<Self> {
        let path = folder.join("lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self::Held(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Self::Busy),
            Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                Ok(Self::Unsupported)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the highest epoch may be gone on with in place, if its folder's lock allows.
fn in_place_thinkable(highest: &Epoch, holder: &str) -> bool {
    highest.complete && (highest.released || highest.identity.holder == holder)
}

/// What `holder` may do about the highest epoch. `lock` is what became of locking its folder, where that was tried;
/// `expired`: it was silent for the whole term, or its holder was attested dead.
pub fn decide(highest: &Epoch, holder: &str, lock: Option<&FolderLock>, expired: bool) -> Decision {
    let in_place = in_place_thinkable(highest, holder)
        && match lock {
            Some(FolderLock::Held(_)) => true,
            // Without locks only a clean stop proves that nobody writes there.
            Some(FolderLock::Unsupported) => highest.released,
            Some(FolderLock::Busy) | None => false,
        };
    match (in_place, expired) {
        (true, _) => Decision::InPlace,
        (false, true) => Decision::Copy,
        (false, false) => Decision::Wait,
    }
}

/// The highest complete epoch below `own`, all of which are sealed; `None` where the store may start empty, which is
/// only where epochs 1 to `own` all exist and none was ever complete.
pub fn choose(
    own: u64,
    lowest: u64,
    mut read: impl FnMut(u64) -> io::Result<Option<Epoch>>,
) -> Result<Option<(u64, Epoch)>, TakeoverError> {
    for number in (lowest..own).rev() {
        match read(number)? {
            Some(epoch) if epoch.complete => return Ok(Some((number, epoch))),
            Some(_) => {}
            // It may have been the one that held what was acknowledged last.
            None => return Err(TakeoverError::Damaged(format!("epoch {number} is missing"))),
        }
    }
    if lowest > 1 {
        return Err(TakeoverError::Damaged(format!("no epoch from {lowest} to {own} is complete")));
    }
    Ok(None)
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

    fn check_at_sign(&self, epoch: &Epoch) -> Result<(), TakeoverError> {
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
    fn no_orphans(&self, own: u64) -> Result<bool, TakeoverError> {
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
fn renew_while<T>(
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

/// An epoch that is ours and complete: the right to write in its data folder.
#[derive(Debug)]
pub struct Holding {
    own: OwnEpoch,
    fence: Fence,
    identity: Identity,
    folder: PathBuf,
    files: EpochFiles,
    _lock: FolderLock,
}

impl Holding {
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
        let began = boottime();
        self.own.renew()?;
        let reading = self.fence.read()?;
        if reading == Reading::Clear {
            lease.confirm(began);
        }
        Ok(reading)
    }

    /// Removes what earlier epochs left behind. Call it once this one serves.
    pub fn tidy(&self) -> io::Result<()> {
        self.files.tidy(self.own.number(), &self.identity.data)
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

fn unix_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(holder: &str, complete: bool, released: bool) -> Epoch {
        let identity = Identity {
            token: "t".to_owned(),
            holder: holder.to_owned(),
            at_sign: "@alice".to_owned(),
            data: "data-1".to_owned(),
            since: 0,
        };
        Epoch { identity, renewals: 3, complete, released }
    }

    #[test]
    fn who_may_do_what_about_the_highest_epoch() {
        use Decision::{Copy, InPlace, Wait};
        let held = || Some(FolderLock::Held(tempfile::tempfile().expect("a file")));
        let table: [(&str, Epoch, Option<FolderLock>, bool, Decision); 10] = [
            ("released", epoch("other", true, true), held(), false, InPlace),
            ("released, no locks", epoch("other", true, true), Some(FolderLock::Unsupported), false, InPlace),
            (
                "released, its process still ends",
                epoch("other", true, true),
                Some(FolderLock::Busy),
                false,
                Wait,
            ),
            ("same holder, process gone", epoch("me", true, false), held(), false, InPlace),
            ("same holder, process alive", epoch("me", true, false), Some(FolderLock::Busy), false, Wait),
            ("same holder, no locks", epoch("me", true, false), Some(FolderLock::Unsupported), false, Wait),
            ("same holder, incomplete", epoch("me", false, false), None, false, Wait),
            ("other holder", epoch("other", true, false), None, false, Wait),
            ("other holder, expired", epoch("other", true, false), None, true, Copy),
            ("incomplete and expired", epoch("other", false, false), None, true, Copy),
        ];
        for (case, highest, lock, expired, expected) in table {
            assert_eq!(decide(&highest, "me", lock.as_ref(), expired), expected, "{case}");
        }
    }

    #[test]
    fn the_highest_complete_epoch_is_chosen_and_incomplete_ones_are_skipped() {
        let read = |number| Ok(Some(epoch("other", number == 2 || number == 3, false)));
        let chosen = choose(6, 1, read).expect("choose").expect("a predecessor");
        assert_eq!(chosen.0, 3);
    }

    #[test]
    fn a_store_starts_empty_only_where_every_epoch_exists_and_none_is_complete() {
        let none_complete = |_| Ok(Some(epoch("other", false, false)));
        assert!(choose(1, 1, none_complete).expect("the first epoch").is_none());
        assert!(choose(4, 1, none_complete).expect("three that failed").is_none());
        let from_later = choose(70, 6, none_complete).expect_err("epochs 1 to 5 are gone");
        assert!(from_later.to_string().contains("complete"), "{from_later}");
    }

    #[test]
    fn a_missing_epoch_is_never_stepped_over() {
        let read = |number| Ok((number != 3).then(|| epoch("other", number == 2, false)));
        let error = choose(5, 1, read).expect_err("3 may have been the complete one");
        assert!(error.to_string().contains("epoch 3 is missing"), "{error}");
    }
}
