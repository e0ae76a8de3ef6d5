//! What a volume holds: as its users see it, and as a loss of power would leave it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use fuser::Errno;

/// A page: what reaches a disk whole or not at all.
const PAGE: usize = 4096;

/// The folder that everything is in.
pub(super) const ROOT: u64 = 1;

/// A file or a folder.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) mode: u16,
    pub(super) owner: (u32, u32),
    pub(super) modified: SystemTime,
    pub(super) links: u32,
}

/// What is in it now, and what of that is on disk.
#[derive(Clone, Debug)]
pub(super) enum Content {
    File { now: Vec<u8>, on_disk: Vec<u8>, unsynced: BTreeSet<usize> },
    Folder { now: BTreeMap<OsString, u64>, on_disk: BTreeMap<OsString, u64> },
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    nodes: HashMap<u64, Node>,
    next: u64,
}

impl Default for Disk {
    fn default() -> Self {
        let mut disk = Self { nodes: HashMap::new(), next: ROOT };
        disk.add(true, 0o777, (0, 0));
        disk
    }
}

impl Disk {
    pub(super) fn node(&self, number: u64) -> Result<&Node, Errno> {
        self.nodes.get(&number).ok_or(Errno::ESTALE)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::ESTALE)
    }

    pub(super) fn folder(&self, number: u64) -> Result<&BTreeMap<OsString, u64>, Errno> {
        match &self.node(number)?.content {
            Content::Folder { now, .. } => Ok(now),
            Content::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, number: u64) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        let node = self.node_mut(number)?;
        node.modified = SystemTime::now();
        match &mut node.content {
            Content::Folder { now, .. } => Ok(now),
            Content::File { .. } => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn file(&self, number: u64) -> Result<&[u8], Errno> {
        match &self.node(number)?.content {
            Content::File { now, .. } => Ok(now),
            Content::Folder { .. } => Err(Errno::EISDIR),
        }
    }

    pub(super) fn find(&self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        self.folder(parent)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn add(&mut self, folder: bool, mode: u16, owner: (u32, u32)) -> u64 {
        let content = if folder {
            Content::Folder { now: BTreeMap::new(), on_disk: BTreeMap::new() }
        } else {
            Content::File { now: Vec::new(), on_disk: Vec::new(), unsynced: BTreeSet::new() }
        };
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, Node { content, mode, owner, modified: SystemTime::now(), links: 1 });
        number
    }

    /// Makes a file or a folder.
    pub(super) fn make(
        &mut self,
        parent: u64,
        name: &OsStr,
        folder: bool,
        mode: u16,
        owner: (u32, u32),
    ) -> Result<u64, Errno> {
        if self.folder(parent)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let number = self.add(folder, mode, owner);
        self.folder_mut(parent)?.insert(name.to_owned(), number);
        Ok(number)
    }

    pub(super) fn link(&mut self, number: u64, parent: u64, name: &OsStr) -> Result<(), Errno> {
        if self.folder(parent)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.folder_mut(parent)?.insert(name.to_owned(), number);
        self.node_mut(number)?.links += 1;
        Ok(())
    }

    /// Removes a name. The node stays, for those who have it open and for the disk.
    pub(super) fn remove(&mut self, parent: u64, name: &OsStr, folder: bool) -> Result<(), Errno> {
        let number = self.find(parent, name)?;
        match (&self.node(number)?.content, folder) {
            (Content::Folder { now, .. }, true) if !now.is_empty() => return Err(Errno::ENOTEMPTY),
            (Content::Folder { .. }, false) => return Err(Errno::EISDIR),
            (Content::File { .. }, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.folder_mut(parent)?.remove(name);
        let node = self.node_mut(number)?;
        node.links = node.links.saturating_sub(1);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let number = self.find(from.0, from.1)?;
        if let Ok(there) = self.find(to.0, to.1) {
            let folder = matches!(self.node(there)?.content, Content::Folder { .. });
            self.remove(to.0, to.1, folder)?;
        }
        self.folder_mut(from.0)?.remove(from.1);
        self.folder_mut(to.0)?.insert(to.1.to_owned(), number);
        Ok(())
    }

    pub(super) fn write(&mut self, number: u64, at: usize, data: &[u8]) -> Result<(), Errno> {
        let end = at + data.len();
        if end > self.file(number)?.len() {
            self.resize(number, end)?;
        }
        let node = self.node_mut(number)?;
        node.modified = SystemTime::now();
        let Content::File { now, unsynced, .. } = &mut node.content else { return Err(Errno::EISDIR) };
        now[at..end].copy_from_slice(data);
        unsynced.extend(at / PAGE..end.div_ceil(PAGE));
        Ok(())
    }

    pub(super) fn resize(&mut self, number: u64, size: usize) -> Result<(), Errno> {
        let node = self.node_mut(number)?;
        node.modified = SystemTime::now();
        let Content::File { now, unsynced, .. } = &mut node.content else { return Err(Errno::EISDIR) };
        let changed = now.len().min(size)..now.len().max(size);
        now.resize(size, 0);
        unsynced.extend(changed.start / PAGE..changed.end.div_ceil(PAGE));
        Ok(())
    }

    /// Brings to disk what is in a file, or the names in a folder.
    pub(super) fn sync(&mut self, number: u64) -> Result<(), Errno> {
        match &mut self.node_mut(number)?.content {
            Content::Folder { now, on_disk } => on_disk.clone_from(now),
            Content::File { now, on_disk, unsynced } => {
                on_disk.resize(now.len(), 0);
                for page in std::mem::take(unsynced) {
                    let start = (page * PAGE).min(now.len());
                    let end = (start + PAGE).min(now.len());
                    on_disk[start..end].copy_from_slice(&now[start..end]);
                }
            }
        }
        Ok(())
    }

    /// What is left after the power was lost. `kept` is asked for each page and each folder that was changed and not
    /// synced whether it had reached the disk nevertheless: a kernel writes when it likes, and in any order.
    pub(super) fn after_power_loss(&self, mut kept: impl FnMut() -> bool) -> Self {
        let mut left = self.clone();
        for node in left.nodes.values_mut() {
            match &mut node.content {
                Content::Folder { now, on_disk } => {
                    if now != on_disk && kept() {
                        on_disk.clone_from(now);
                    }
                    now.clone_from(on_disk);
                }
                Content::File { now, on_disk, unsynced } => {
                    if now.len() != on_disk.len() && kept() {
                        on_disk.resize(now.len(), 0);
                    }
                    for page in std::mem::take(unsynced) {
                        let start = page * PAGE;
                        let end = (start + PAGE).min(now.len()).min(on_disk.len());
                        if start < end && kept() {
                            on_disk[start..end].copy_from_slice(&now[start..end]);
                        }
                    }
                    now.clone_from(on_disk);
                }
            }
        }
        left.forget_the_nameless();
        left
    }

    fn forget_the_nameless(&mut self) {
        let mut links: HashMap<u64, u32> = HashMap::from([(ROOT, 1)]);
        let mut open = vec![ROOT];
        while let Some(folder) = open.pop() {
            let Ok(names) = self.folder(folder) else { continue };
            for number in names.values() {
                *links.entry(*number).or_default() += 1;
                open.push(*number);
            }
        }
        self.nodes.retain(|number, node| {
            node.links = links.get(number).copied().unwrap_or(0);
            node.links > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(disk: &mut Disk, name: &str) -> u64 {
        disk.make(ROOT, name.as_ref(), false, 0o600, (0, 0)).expect("a file")
    }

    #[test]
    fn a_loss_of_power_leaves_what_was_synced() {
        let mut disk = Disk::default();
        let file = with_file(&mut disk, "a");
        disk.write(file, 0, b"synced").expect("write");
        disk.sync(file).expect("sync");
        disk.sync(ROOT).expect("sync");
        disk.write(file, 0, b"later!, and longer").expect("write");
        with_file(&mut disk, "b");
        let left = disk.after_power_loss(|| false);
        assert_eq!(left.file(file).expect("it is there"), b"synced");
        assert!(left.find(ROOT, "b".as_ref()).is_err(), "its name was not synced");
        assert!(disk.find(ROOT, "b".as_ref()).is_ok());
    }

    #[test]
    fn a_file_whose_folder_was_not_synced_is_gone_and_one_that_was_removed_is_back() {
        let mut disk = Disk::default();
        let (old, new) = (with_file(&mut disk, "old"), with_file(&mut disk, "new"));
        disk.sync(old).expect("sync");
        disk.sync(ROOT).expect("sync");
        disk.remove(ROOT, "old".as_ref(), false).expect("remove");
        disk.rename((ROOT, "new".as_ref()), (ROOT, "other".as_ref())).expect("rename");
        disk.sync(new).expect("sync");
        let left = disk.after_power_loss(|| false);
        let names: Vec<_> = left.folder(ROOT).expect("the root").keys().collect();
        assert_eq!(names, ["new", "old"]);
    }

    #[test]
    fn pages_reach_the_disk_in_any_order() {
        let mut disk = Disk::default();
        let file = with_file(&mut disk, "a");
        disk.sync(ROOT).expect("sync");
        disk.write(file, 0, &[1; 3 * PAGE]).expect("write");
        let mut answers = [true, false, true, false].into_iter();
        let left = disk.after_power_loss(|| answers.next().expect("a page"));
        let left = left.file(file).expect("it is there");
        assert_eq!(left.len(), 3 * PAGE, "its length had reached the disk");
        assert_eq!([left[0], left[PAGE], left[2 * PAGE]], [0, 1, 0]);
    }
}
