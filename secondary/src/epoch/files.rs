//! The files of epochs: who holds which number, how often it has renewed, whether it is complete, whether released.
//!
//! `epoch/<n>` is four blocks, each with one fact and each written whole, so that nothing is ever half overwritten:
//! the identity (written before the file gets its name), the renewal counter, the mark `complete`, the mark
//! `released`. Only the holder of the number writes it.

use std::io::{
    self,
    ErrorKind::{AlreadyExists, NotFound},
};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::block::{self, BLOCK, Blocks};
use super::fence::{self, Fence};
use super::volume::{Blockwise, Mounted, Open, Volume};

const IDENTITY: usize = 0;
const RENEWALS: usize = 1;
const COMPLETE: usize = 2;
const RELEASED: usize = 3;
const ALL: usize = 4;

/// Files of so many numbers below the one that serves are kept.
pub const KEPT: u64 = 64;

/// Who holds an epoch: the first block of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Tells this claim from every other one, also of the same holder.
    pub token: String,
    /// The pod's UID, or the machine's boot id.
    pub holder: String,
    /// The atSign whose data it is.
    pub at_sign: String,
    /// Name of the data folder beside `epoch`.
    pub data: String,
    /// When the number was taken, Unix seconds by the holder's clock. For people; nothing compares it.
    pub since: i64,
}

/// What a file of an epoch said when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Who holds it.
    pub identity: Identity,
    /// How often the holder has renewed.
    pub renewals: u64,
    /// Its data folder holds everything that was ever acknowledged before it.
    pub complete: bool,
    /// Its holder stopped cleanly: the store in its data folder is closed and on disk.
    pub released: bool,
}

impl Epoch {
    fn read(file: &impl Blockwise) -> io::Result<Self> {
        let mut blocks = Blocks::zeroed(ALL);
        let count = file.read(0, &mut blocks)?;
        Self::parse(&blocks.as_ref()[..count])
    }

    /// Reads the content of a file.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() < ALL * BLOCK {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of an epoch is cut short"));
        }
        let block = |index: usize| &bytes[index * BLOCK..(index + 1) * BLOCK];
        Ok(Self {
            identity: serde_json::from_str(block::text(block(IDENTITY))?)?,
            // A counter that cannot be read is no less alive: whoever watches it looks for a change only.
            renewals: block::text(block(RENEWALS)).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
            complete: block::text(block(COMPLETE)).is_ok_and(|text| text == "complete"),
            released: block::text(block(RELEASED)).is_ok_and(|text| text == "released"),
        })
    }
}

/// The directory `epoch` of one store.
#[derive(Clone, Debug)]
pub struct EpochFiles<V = Mounted> {
    volume: V,
    storage: PathBuf,
    epochs: PathBuf,
}

/// The numbers that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The lowest that has a file or a seal.
    pub lowest: u64,
    /// The highest that has a file.
    pub highest: u64,
}

impl EpochFiles {
    /// Opens the directory below `storage`, and creates it where it is missing.
    pub fn open(storage: &Path) -> io::Result<Self> {
        Self::open_on(Mounted, storage)
    }
}

impl<V: Volume> EpochFiles<V> {
    /// The same on any volume.
    pub fn open_on(volume: V, storage: &Path) -> io::Result<Self> {
        let files = Self::there(volume, storage);
        match files.volume.make_folder(&files.epochs) {
            Ok(()) => files.volume.sync_folder(storage)?,
            Err(error) if error.kind() == AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(files)
    }

    /// The same where the directory exists.
    pub(super) fn there(volume: V, storage: &Path) -> Self {
        Self { volume, storage: storage.to_owned(), epochs: storage.join("epoch") }
    }

    /// The volume that they are on.
    pub fn volume(&self) -> &V {
        &self.volume
    }

    /// The path of a data folder.
    pub fn data_folder(&self, name: &str) -> PathBuf {
        self.storage.join(name)
    }

    /// The storage directory itself.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// The numbers that exist; `None` for a store that never was.
    pub fn numbers(&self) -> io::Result<Option<Numbers>> {
        let mut found: Option<Numbers> = None;
        for name in self.volume.list(&self.epochs)? {
            let (number, is_seal) = match name.strip_suffix(".seal") {
                Some(number) => (number, true),
                None => (name.as_str(), false),
            };
            let Ok(number) = number.parse::<u64>() else { continue };
            let numbers = found.get_or_insert(Numbers { lowest: number, highest: 0 });
            numbers.lowest = numbers.lowest.min(number);
            if !is_seal {
                numbers.highest = numbers.highest.max(number);
            }
        }
        Ok(found.filter(|numbers| numbers.highest > 0))
    }

    /// Reads the file of a number past the page cache; `None` where there is none.
    pub fn read(&self, number: u64) -> io::Result<Option<Epoch>> {
        if_there(self.volume.open(&self.file(number), Open::Read))?.map(|file| Epoch::read(&file)).transpose()
    }

    /// Takes a number. `None`: somebody else has it.
    ///
    /// A private file is written and then linked to the number, so that the name never stands for half a file. The
    /// answer to `link` may be lost on its way or tell of our own repeated call; what counts is what the name holds.
    pub fn claim(&self, number: u64, identity: &Identity) -> io::Result<Option<OwnEpoch<V::File>>> {
        let private = self.epochs.join(format!(".new-{}", identity.token));
        let json = serde_json::to_vec(identity)?;
        if json.len() >= BLOCK {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the holder's name is too long"));
        }
        let mut blocks = Blocks::zeroed(ALL);
        blocks.as_mut()[..json.len()].copy_from_slice(&json);
        blocks.as_mut()[RENEWALS * BLOCK] = b'0';
        let file = self.volume.open(&private, Open::Create)?;
        file.write(0, &blocks)?;
        file.sync()?;
        // Closed first: over NFS, removing the name of an open file leaves another name behind.
        drop(file);
        let linked = self.volume.link(&private, &self.file(number));
        // The private name is litter from here on; a later holder removes it where this fails.
        let _ = self.volume.remove(&private);

        let ours = match if_there(self.volume.open(&self.file(number), Open::Write))? {
            Some(file) if Epoch::read(&file)?.identity.token == identity.token => Some(file),
            _ => None,
        };
        match (ours, linked) {
            (Some(file), _) => {
                self.volume.sync_folder(&self.epochs)?;
                Ok(Some(OwnEpoch { number, renewals: 0, file }))
            }
            // A holder that tidied up took the private file for litter, as it may: somebody else holds the store.
            (None, Err(error)) if matches!(error.kind(), AlreadyExists | NotFound) => Ok(None),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok(None),
        }
    }

    /// Opens the seal of a number of our own.
    pub fn fence(&self, number: u64) -> io::Result<Fence<V::File>> {
        let fence = Fence::open(&self.volume, &self.seal_file(number))?;
        self.volume.sync_folder(&self.epochs)?;
        Ok(fence)
    }

    /// Seals every number from `lowest` up to, but without, `own`: by number, for a listing may lack one.
    pub fn seal_below(&self, own: u64, lowest: u64) -> io::Result<()> {
        for number in lowest.max(1)..own {
            fence::seal(&self.volume, &self.seal_file(number))?;
        }
        self.volume.sync_folder(&self.epochs)
    }

    /// Removes what nobody needs once `own` serves from the folder `data`: numbers older than the last `kept`, data folders
    /// of lower numbers, private files that were never linked.
    ///
    /// The lowest numbers go first, so that those that exist are always one range.
    pub fn tidy(&self, own: u64, data: &str, kept: u64) -> io::Result<()> {
        if let Some(numbers) = self.numbers()? {
            for number in numbers.lowest..own.saturating_sub(kept) {
                self.remove_if_there(&self.file(number))?;
                self.remove_if_there(&self.seal_file(number))?;
            }
        }
        for name in self.volume.list(&self.epochs)?.iter().filter(|name| name.starts_with(".new-")) {
            self.remove_if_there(&self.epochs.join(name))?;
        }
        for name in self.volume.list(&self.storage)? {
            let Some(number) = data_number(&name) else { continue };
            if number < own && name != data {
                if_there(self.volume.remove_folder(&self.storage.join(name)))?;
            }
        }
        self.volume.sync_folder(&self.epochs)?;
        self.volume.sync_folder(&self.storage)
    }

    /// The highest number that has a data folder.
    pub fn highest_data_folder(&self) -> io::Result<Option<u64>> {
        Ok(self.volume.list(&self.storage)?.iter().filter_map(|name| data_number(name)).max())
    }

    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        if_there(self.volume.remove(path)).map(|_| ())
    }

    fn file(&self, number: u64) -> PathBuf {
        self.epochs.join(number.to_string())
    }

    fn seal_file(&self, number: u64) -> PathBuf {
        self.epochs.join(format!("{number}.seal"))
    }
}

/// Name of the data folder that epoch `number` makes.
pub fn data_name(number: u64) -> String {
    format!("data-{number}")
}

fn data_number(name: &str) -> Option<u64> {
    name.strip_prefix("data-")?.parse().ok()
}

/// The file of a number that we hold.
#[derive(Debug)]
pub struct OwnEpoch<F> {
    pub(super) number: u64,
    pub(super) renewals: u64,
    pub(super) file: F,
}

impl<F: Blockwise> OwnEpoch<F> {
    /// The number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Adds one to the renewal counter. Seen by every reader when it returns, but not waited for to be on disk: a
    /// counter that is lost with the server of the volume is a renewal late, no more.
    pub fn renew(&mut self) -> io::Result<()> {
        self.file.write(RENEWALS, &Blocks::with_text(&(self.renewals + 1).to_string()))?;
        self.renewals += 1;
        Ok(())
    }

    /// Says that the data folder holds everything. On disk when it returns.
    pub fn set_complete(&self) -> io::Result<()> {
        self.file.write(COMPLETE, &Blocks::with_text("complete"))?;
        self.file.sync()
    }

    /// Says that the holder stopped cleanly: its last write. On disk when it returns.
    pub fn set_released(&self) -> io::Result<()> {
        self.file.write(RELEASED, &Blocks::with_text("released"))?;
        self.file.sync()
    }
}

/// `None` where what was asked for is not there.
fn if_there<T>(asked: io::Result<T>) -> io::Result<Option<T>> {
    match asked {
        Err(error) if error.kind() == NotFound => Ok(None),
        answer => answer.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn identity(token: &str) -> Identity {
        Identity {
            token: token.to_owned(),
            holder: "pod-1".to_owned(),
            at_sign: "@alice".to_owned(),
            data: data_name(1),
            since: 1_700_000_000,
        }
    }

    #[test]
    fn a_number_is_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = EpochFiles::open(folder.path()).expect("open");
        assert_eq!(files.numbers().expect("list"), None);
        assert!(files.claim(1, &identity("a")).expect("claim").is_some());
        assert!(files.claim(1, &identity("b")).expect("claim").is_none());
        assert_eq!(files.numbers().expect("list"), Some(Numbers { lowest: 1, highest: 1 }));
        assert_eq!(files.read(1).expect("read").expect("epoch").identity, identity("a"));
    }

    #[test]
    fn an_epoch_tells_its_renewals_its_completion_and_its_release() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = EpochFiles::open(folder.path()).expect("open");
        let mut own = files.claim(1, &identity("a")).expect("claim").expect("ours");
        own.renew().expect("renew");
        own.renew().expect("renew");
        let seen = files.read(1).expect("read").expect("epoch");
        assert_eq!((seen.renewals, seen.complete, seen.released), (2, false, false));
        own.set_complete().expect("complete");
        own.set_released().expect("release");
        let seen = files.read(1).expect("read").expect("epoch");
        assert_eq!((seen.renewals, seen.complete, seen.released), (2, true, true));
    }

    #[test]
    fn lower_numbers_are_sealed_also_where_a_seal_was_never_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = EpochFiles::open(folder.path()).expect("open");
        files.claim(1, &identity("a")).expect("claim").expect("ours");
        let mut own = files.fence(3).expect("fence");
        files.seal_below(3, 1).expect("seal");
        for number in [1, 2] {
            assert_eq!(files.fence(number).expect("open").read().expect("read"), fence::Reading::Sealed);
        }
        assert_eq!(own.read().expect("read"), fence::Reading::Clear);
    }

    #[test]
    fn tidying_keeps_the_last_numbers_the_own_folder_and_those_of_successors() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = EpochFiles::open(folder.path()).expect("open");
        for number in 1..=70 {
            files.claim(number, &identity(&number.to_string())).expect("claim").expect("ours");
            files.fence(number).expect("fence");
        }
        for name in ["data-3", "data-68", "data-71", "logs"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        files.tidy(70, "data-68", KEPT).expect("tidy");
        assert_eq!(files.numbers().expect("list"), Some(Numbers { lowest: 6, highest: 70 }));
        let left = |name: &str| folder.path().join(name).exists();
        assert_eq!(
            (left("data-3"), left("data-68"), left("data-71"), left("logs")),
            (false, true, true, true)
        );
    }
}
