//! What a claimant may do about the epochs that it sees. Functions of what was seen; the files are elsewhere.

use std::io;

use super::files::Epoch;
use super::takeover::TakeoverError;

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

/// What became of locking a data folder. Every holder keeps it locked for life.
#[derive(Debug)]
pub enum FolderLock<L> {
    /// Ours until it is dropped.
    Held(L),
    /// Another process of this machine has it.
    Busy,
    /// The file system has no such locks; then nobody holds one.
    Unsupported,
}

/// Whether the highest epoch may be gone on with in place, if its folder's lock allows.
pub(super) fn in_place_thinkable(highest: &Epoch, holder: &str) -> bool {
    highest.complete && (highest.released || highest.identity.holder == holder)
}

/// What `holder` may do about the highest epoch. `lock` is what became of locking its folder, where that was tried;
/// `expired`: it was silent for the whole term, or its holder was attested dead.
pub fn decide<L>(highest: &Epoch, holder: &str, lock: Option<&FolderLock<L>>, expired: bool) -> Decision {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::files::Identity;

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

    type Case = (&'static str, Epoch, Option<FolderLock<()>>, bool, Decision);

    #[test]
    fn who_may_do_what_about_the_highest_epoch() {
        use Decision::{Copy, InPlace, Wait};
        let held = || Some(FolderLock::Held(()));
        let table: [Case; 10] = [
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
