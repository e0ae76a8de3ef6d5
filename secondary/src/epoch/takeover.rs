//! Taking the store over: wait until somebody may, take the next number, seal what is below, choose what to go on
//! from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::copy::{Copied, copy};
use super::decision::{Decision, FolderLock, choose, decide, in_place_thinkable};
use super::fence::{Fence, Reading};
use super::files::{Epoch, EpochFiles, Identity, Numbers, OwnEpoch, data_name};
use super::holding::Holding;
use super::lease::{Sign, Term, Watch};
use super::volume::{Mounted, Volume};

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
pub struct Claimant<C, V = Mounted> {
    /// The epochs' files.
    pub files: EpochFiles<V>,
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
enum Start<L> {
    /// The store stays where it is, for nobody writes there any more.
    InPlace { data: String, lock: FolderLock<L> },
    /// A copy; these signs of life had stood still.
    Copy { silent: Vec<Sign> },
}

impl<C: Contents, V: Volume> Claimant<C, V> {
    /// Waits until the store is ours. Errors that may pass are waited out; the others end it.
    pub fn take_over(&mut self) -> Result<Holding<V>, TakeoverError> {
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
            self.files.volume().sleep(self.pause());
        }
    }

    /// One look at the highest epoch, and an attempt where that is allowed.
    pub(super) fn look(&mut self, watch: &mut Watch) -> Result<Option<Holding<V>>, TakeoverError> {
        let began = self.files.volume().boottime();
        let Some(numbers) = self.files.numbers()? else {
            return self.attempt(1, Start::Copy { silent: Vec::new() });
        };
        let Some(highest) = self.files.read(numbers.highest)? else { return Ok(None) };
        let signs = self.signs(numbers, &highest)?;
        let ended = self.files.volume().boottime();
        self.check_at_sign(&highest)?;

        let expired = watch.silent(&signs, began, ended, self.term.silence) || signs.is_empty();
        let Identity { holder, data, since, .. } = highest.identity.clone();
        let lock = if in_place_thinkable(&highest, &self.holder) { self.lock(&data)? } else { None };
        match (decide(&highest, &self.holder, lock.as_ref(), expired), lock) {
            (Decision::InPlace, Some(lock)) => {
                self.attempt(numbers.highest + 1, Start::InPlace { data, lock })
            }
            (Decision::Copy, _) => self.attempt(numbers.highest + 1, Start::Copy { silent: signs }),
            _ => {
                let silent = watch.silent_for(self.files.volume().boottime());
                (self.report)(Progress::Waiting { number: numbers.highest, holder, since, silent });
                Ok(None)
            }
        }
    }

    /// The signs of life of all who may still answer: from the highest epoch down to the highest complete one, below
    /// which every lease had ended when it became complete. Who was attested dead gives none.
    pub(super) fn signs(&mut self, numbers: Numbers, highest: &Epoch) -> io::Result<Vec<Sign>> {
        let dead = (self.dead)();
        let mut signs = Vec::new();
        let mut epoch = highest.clone();
        for number in (numbers.lowest..=numbers.highest).rev() {
            if number < numbers.highest {
                let Some(lower) = self.files.read(number)? else { break };
                epoch = lower;
            }
            if !dead.contains(&epoch.identity.holder) {
                signs.push(Sign { number, token: epoch.identity.token.clone(), renewals: epoch.renewals });
            }
            if epoch.complete {
                break;
            }
        }
        Ok(signs)
    }

    /// Takes `number` and makes it complete. `None`: somebody else was faster; look again.
    fn attempt(&mut self, number: u64, start: Start<V::Lock>) -> Result<Option<Holding<V>>, TakeoverError> {
        let data = match &start {
            Start::InPlace { data, .. } => data.clone(),
            Start::Copy { .. } => data_name(number),
        };
        let identity = Identity {
            token: self.files.volume().token(),
            holder: self.holder.clone(),
            at_sign: self.at_sign.clone(),
            data,
            since: self.files.volume().unix_seconds(),
        };
        let Some(mut own) = self.files.claim(number, &identity)? else { return Ok(None) };
        // Before the list: a seal that is opened only now, with no higher number to be seen after it, is the one that
        // every successor will fill.
        let mut fence = self.files.fence(number)?;
        let folder = self.files.data_folder(&identity.data);
        let made = self.complete(&mut own, &mut fence, &folder, start);
        match (made, fence.read()) {
            (Ok(Some(lock)), Ok(Reading::Clear)) => {
                Ok(Some(Holding { own, fence, identity, folder, files: self.files.clone(), _lock: lock }))
            }
            (Ok(Some(_)), Err(error)) => Err(error.into()),
            // What failed then was looking for what the one that sealed us has removed.
            (_, Ok(Reading::Sealed)) | (Ok(None), _) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }

    /// Seals what is below our number, puts into our folder what was ever acknowledged, and says so.
    fn complete(
        &mut self,
        own: &mut OwnEpoch<V::File>,
        fence: &mut Fence<V::File>,
        folder: &Path,
        start: Start<V::Lock>,
    ) -> Result<Option<FolderLock<V::Lock>>, TakeoverError> {
        let number = own.number();
        let Some(numbers) = self.files.numbers()?.filter(|numbers| numbers.highest <= number) else {
            return Ok(None);
        };
        if !self.no_orphans(number)? {
            return Ok(None);
        }
        self.files.seal_below(number, numbers.lowest)?;
        let lock = match start {
            Start::InPlace { lock, .. } => lock,
            Start::Copy { silent } => {
                let sealed = self.files.volume().boottime();
                // The choice comes after the seals: what a lower epoch completes from now on, it cannot serve.
                let source = choose(number, numbers.lowest, |number| self.files.read(number))?;
                let answers = self.still_answers(number, numbers.lowest, &silent)?;
                self.files.volume().make_folder(folder)?;
                let lock = self.files.volume().lock(folder)?;
                match source {
                    None => self.contents.create(folder)?,
                    Some((from, epoch)) => {
                        self.check_at_sign(&epoch)?;
                        if !self.fill(from, &epoch, folder, own, fence)? {
                            return Ok(None);
                        }
                    }
                }
                self.files.volume().sync_folder(folder)?;
                self.files.volume().sync_folder(self.files.storage())?;
                if answers && !self.outlive(sealed, own, fence)? {
                    return Ok(None);
                }
                lock
            }
        };
        own.set_complete()?;
        Ok(Some(lock))
    }

    /// Whether somebody renewed between our last look and our seals. It can write nothing any more, but may answer
    /// what it is asked to read until its term ends.
    pub(super) fn still_answers(&mut self, own: u64, lowest: u64, silent: &[Sign]) -> io::Result<bool> {
        let below = Numbers { lowest, highest: own - 1 };
        if below.highest < below.lowest {
            return Ok(false);
        }
        let Some(highest) = self.files.read(below.highest)? else { return Ok(false) };
        Ok(self.signs(below, &highest)?.iter().any(|sign| !silent.contains(sign)))
    }

    /// Waits until no lease that was confirmed before `sealed` holds any more; false where a successor seals us.
    pub(super) fn outlive(
        &self,
        sealed: Duration,
        own: &mut OwnEpoch<V::File>,
        fence: &mut Fence<V::File>,
    ) -> Result<bool, TakeoverError> {
        let volume = self.files.volume();
        renew_while(volume, own, fence, self.term, |lost| {
            while !lost() && volume.boottime() < sealed + self.term.silence {
                volume.sleep(self.pause());
            }
            Ok(!lost())
        })
    }

    /// Copies the store of an earlier epoch, until a copy is whole and passes its check. Renews meanwhile; false where
    /// a successor seals us.
    fn fill(
        &mut self,
        from: u64,
        epoch: &Epoch,
        folder: &Path,
        own: &mut OwnEpoch<V::File>,
        fence: &mut Fence<V::File>,
    ) -> Result<bool, TakeoverError> {
        let volume = self.files.volume().clone();
        let source = self.files.data_folder(&epoch.identity.data);
        let missing = source.join(C::FILES[0]);
        if volume.stamp(&missing)?.is_none() {
            return Err(TakeoverError::Damaged(format!(
                "{}, of epoch {from}, is missing",
                missing.display()
            )));
        }
        let pause = self.pause();
        (self.report)(Progress::Copying { from });
        renew_while(&volume, own, fence, self.term, |sealed| {
            let mut checks = 0;
            while !sealed() {
                match copy(&volume, &source, folder, C::FILES, sealed)? {
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
                volume.sleep(pause);
            }
            Ok(false)
        })
    }

    /// Locks a data folder; `None` where it is gone, for then our look at its epoch is older than its successor.
    pub(super) fn lock(&self, data: &str) -> io::Result<Option<FolderLock<V::Lock>>> {
        match self.files.volume().lock(&self.files.data_folder(data)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            locked => locked.map(Some),
        }
    }

    /// Between two looks.
    pub(super) fn pause(&self) -> Duration {
        (self.term.silence / 33).min(Duration::from_secs(1))
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

/// Does `work` while our own epoch is renewed. `work` may ask whether a successor has sealed us.
pub(super) fn renew_while<V: Volume, T>(
    volume: &V,
    own: &mut OwnEpoch<V::File>,
    fence: &mut Fence<V::File>,
    term: Term,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, TakeoverError>,
) -> Result<T, TakeoverError> {
    let sealed = AtomicBool::new(false);
    // An error of the volume is a renewal less; another then finds us silent, which is what we are.
    let beat = || {
        let _ = own.renew();
        if matches!(fence.read(), Ok(Reading::Sealed)) {
            sealed.store(true, Ordering::Release);
        }
    };
    volume.beside(term.renewal, beat, || work(&|| sealed.load(Ordering::Acquire)))?
}

/// Errors of a volume that a person must cure are reported at once; the others are waited out.
pub(super) fn may_pass(error: &io::Error) -> bool {
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
