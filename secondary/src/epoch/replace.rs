//! Taking the store to put another one in its place: what a restore does.
//!
//! It is a contender like any other: it takes the next number, seals every lower one and makes a data folder of its own.
//! Only what it fills that folder with is not what it found. So a restore that dies in the middle leaves an epoch that
//! was never completed, and the next server goes on with what was there before.

use std::fs::File;
use std::io;
use std::path::Path;

use super::decision::{Decision, FolderLock, choose, decide, in_place_thinkable};
use super::fence::Reading;
use super::files::{Identity, data_name};
use super::holding::Holding;
use super::lease::{Sign, Watch};
use super::takeover::{Claimant, Contents, TakeoverError, renew_while};
use super::volume::Volume as _;

/// Why the store was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError<E> {
    /// A server has it.
    #[error("the store is in use: {holder} holds it (epoch {number}); stop that server first")]
    InUse {
        /// The highest epoch.
        number: u64,
        /// Its holder.
        holder: String,
    },
    /// The volume cannot be used, whatever is put there.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// What should be put there.
    #[error(transparent)]
    Filling(E),
}

impl<E> From<io::Error> for ReplaceError<E> {
    fn from(error: io::Error) -> Self {
        Self::Takeover(error.into())
    }
}

impl<C: Contents> Claimant<C> {
    /// Takes the store with what `fill` puts into an empty folder; it is also given the folder of the newest complete
    /// store, where there is one. A holder that was not released is waited for, until it is silent for the term; one
    /// that is heard of meanwhile has the store in use.
    pub fn replace<E>(
        &mut self,
        fill: impl FnOnce(&Path, Option<&Path>) -> Result<(), E>,
    ) -> Result<Holding, ReplaceError<E>> {
        let Unused { number, silent, lock: _lock } = self.wait_until_unused()?;
        let own = number + 1;
        let in_use = || ReplaceError::InUse { number: own, holder: "another server".to_owned() };
        let data = data_name(own);
        let identity = Identity {
            token: self.files.volume().token(),
            holder: self.holder.clone(),
            at_sign: self.at_sign.clone(),
            data: data.clone(),
            since: self.files.volume().unix_seconds(),
        };
        let Some(mut epoch) = self.files.claim(own, &identity)? else { return Err(in_use()) };
        let mut fence = self.files.fence(own)?;
        let numbers = self.files.numbers()?.filter(|numbers| numbers.highest == own);
        let Some(numbers) = numbers else { return Err(in_use()) };
        if !self.no_orphans(own)? {
            return Err(in_use());
        }
        self.files.seal_below(own, numbers.lowest)?;
        let volume = *self.files.volume();
        let sealed = volume.boottime();
        let answers = self.still_answers(own, numbers.lowest, &silent)?;
        // Where an epoch is missing nobody knows what was acknowledged last; then there is nothing to go on from.
        let predecessor = choose(own, numbers.lowest, |number| self.files.read(number)).ok().flatten();
        let predecessor = predecessor.map(|(_, epoch)| self.files.data_folder(&epoch.identity.data));

        let folder = self.files.data_folder(&data);
        volume.make_folder(&folder)?;
        let lock = volume.lock(&folder)?;
        let mut filled = None;
        renew_while(&volume, &mut epoch, &mut fence, self.term, |_| {
            filled = Some(fill(&folder, predecessor.as_deref()));
            Ok(())
        })?;
        if let Some(Err(error)) = filled {
            return Err(ReplaceError::Filling(error));
        }
        volume.sync_folder(&folder)?;
        volume.sync_folder(self.files.storage())?;
        if answers && !self.outlive(sealed, &mut epoch, &mut fence)? {
            return Err(in_use());
        }
        epoch.set_complete()?;
        if fence.read()? == Reading::Sealed {
            return Err(in_use());
        }
        let files = self.files.clone();
        Ok(Holding { own: epoch, fence, identity, folder, files, _lock: lock })
    }

    /// Waits until nobody holds the highest number.
    fn wait_until_unused<E>(&mut self) -> Result<Unused, ReplaceError<E>> {
        let volume = *self.files.volume();
        let mut watch = Watch::default();
        let mut first: Option<Vec<Sign>> = None;
        loop {
            let began = volume.boottime();
            let Some(numbers) = self.files.numbers()? else {
                return Ok(Unused { number: 0, silent: Vec::new(), lock: None });
            };
            let number = numbers.highest;
            let Some(highest) = self.files.read(number)? else { continue };
            let signs = self.signs(numbers, &highest)?;
            let ended = volume.boottime();
            self.check_at_sign(&highest)?;
            let Identity { holder, data, since, .. } = highest.identity.clone();
            let alive = first.get_or_insert_with(|| signs.clone()) != &signs;
            let expired = watch.silent(&signs, began, ended, self.term.silence) || signs.is_empty();
            let lock = if in_place_thinkable(&highest, &self.holder) { self.lock(&data)? } else { None };
            match decide(&highest, &self.holder, lock.as_ref(), expired) {
                Decision::InPlace | Decision::Copy => return Ok(Unused { number, silent: signs, lock }),
                // Its folder is gone, so nobody writes there.
                Decision::Wait if highest.released && lock.is_none() => {
                    return Ok(Unused { number, silent: signs, lock });
                }
                Decision::Wait if alive || matches!(lock, Some(FolderLock::Busy)) => {
                    return Err(ReplaceError::InUse { number, holder });
                }
                Decision::Wait => {}
            }
            let silent = watch.silent_for(volume.boottime());
            (self.report)(super::takeover::Progress::Waiting { number, holder, since, silent });
            volume.sleep(self.pause());
        }
    }
}

/// A store that nobody holds any more.
struct Unused {
    /// The highest number, 0 for none.
    number: u64,
    /// The signs of life that stood still.
    silent: Vec<Sign>,
    /// The lock of its folder, so that no server of this machine goes on there meanwhile.
    lock: Option<FolderLock<File>>,
}
