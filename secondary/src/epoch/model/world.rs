//! What several machines and an NFS server are to the protocol: names, files, what each machine believes of them, a
//! clock. And what an operation does to all that, with every answer that it may get.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::call::{Access, Answer, Op};
use super::{Model, Mutation};

pub(super) type Name = Arc<str>;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Content {
    Folder,
    /// A file of blocks, each without its trailing zeros.
    Blocks(Vec<Block>),
    /// A store's file: the writes that are in it, a bit each.
    Store(u8),
    /// Its write-ahead log: how often it began anew, and the writes that are in it.
    Log {
        salt: u8,
        writes: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Block {
    Zeros,
    Filled(u8),
    Text(Arc<[u8]>),
}

/// A file: what everybody sees, and what is left of it when the power fails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub(super) now: Content,
    pub(super) stable: Content,
}

/// What a machine remembers, for as long as it likes, of what the server once told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    lists: BTreeMap<Name, Vec<String>>,
    /// Names that were not there.
    absent: BTreeSet<Name>,
    /// Files as they were first read; only a mutation uses it, for the protocol reads past the page cache.
    pages: BTreeMap<Name, Content>,
}

/// The present, in ticks.
pub(super) const NOW: u32 = 100;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) names: BTreeMap<Name, Name>,
    pub(super) files: BTreeMap<Name, Inode>,
    machines: Vec<Memory>,
    /// Machine and folder, and the process that locked it.
    locks: BTreeMap<(usize, Name), usize>,
    /// How many writes were begun, and which were acknowledged.
    pub(super) begun: u8,
    pub(super) acknowledged: u8,
    /// What must not be.
    pub(super) broken: Option<String>,
    /// Seals that a mutation holds back, and who wrote them.
    held_back: BTreeSet<(usize, Name)>,
}

impl World {
    pub(super) fn new(machines: usize) -> Self {
        let root = Inode { now: Content::Folder, stable: Content::Folder };
        Self {
            names: BTreeMap::from([("/".into(), "/".into())]),
            files: BTreeMap::from([("/".into(), root)]),
            machines: vec![Memory::default(); machines],
            locks: BTreeMap::new(),
            begun: 0,
            acknowledged: 0,
            broken: None,
            held_back: BTreeSet::new(),
        }
    }

    /// Does what a process on a machine calls for. Every answer that it may get, each with the world after it; the
    /// first is the one of a good day.
    pub(super) fn answers(
        &self,
        op: &Op,
        process: usize,
        machine: usize,
        mutation: Mutation,
    ) -> Vec<(Answer, World)> {
        let mut fresh = self.clone();
        let answer = fresh.execute(op, process, machine, mutation);
        let mut answers = vec![(answer, fresh)];
        // What a machine remembers may be older than what the server would say.
        let memory = &self.machines[machine];
        let stale = match op {
            Op::List(folder) => memory.lists.get(folder).map(|names| Answer::Names(names.clone())),
            Op::Open(name, Access::Existing) | Op::Lock(name) if memory.absent.contains(name) => {
                Some(Answer::NotFound)
            }
            Op::Stamp(name) if memory.absent.contains(name) => Some(Answer::Stamp(None)),
            Op::Read(file) if mutation == Mutation::SealReadThroughCache => self.remembered(machine, file),
            _ => None,
        };
        if let Some(stale) = stale.filter(|stale| *stale != answers[0].0) {
            answers.push((stale, self.clone()));
        }
        answers
    }

    fn remembered(&self, machine: usize, file: &Name) -> Option<Answer> {
        self.machines[machine].pages.get(file).map(|content| Answer::File(Arc::clone(file), content.clone()))
    }

    /// Does it at the server.
    #[expect(clippy::too_many_lines, reason = "a table: each call and what it does")]
    pub(super) fn execute(&mut self, op: &Op, process: usize, machine: usize, mutation: Mutation) -> Answer {
        match op {
            Op::Open(name, access) => {
                if !self.names.contains_key(name) {
                    if *access == Access::Existing {
                        return self.missing(machine, name);
                    }
                    let empty = if name.ends_with("-wal") {
                        Content::Log { salt: 0, writes: 0 }
                    } else {
                        Content::Blocks(vec![Block::Zeros; if name.ends_with(".seal") { 1 } else { 4 }])
                    };
                    self.make(machine, name, empty);
                }
                self.look_at(machine, &Arc::clone(&self.names[name]))
            }
            Op::Read(file) => match mutation {
                Mutation::SkipFence => Answer::File(Arc::clone(file), Content::Blocks(vec![Block::Zeros])),
                _ => self.look_at(machine, file),
            },
            Op::Write(file, block, bytes) => self.write(process, file, *block, bytes, mutation),
            Op::Sync(file) => {
                if let Some(inode) = self.files.get_mut(file) {
                    inode.stable = inode.now.clone();
                }
                Answer::Done
            }
            Op::Link(from, to) => {
                if self.names.contains_key(to) && mutation != Mutation::LinkReplaces {
                    return Answer::Exists;
                }
                let Some(file) = self.names.get(from).cloned() else { return Answer::NotFound };
                self.changed(machine, to);
                self.names.insert(Arc::clone(to), file);
                Answer::Done
            }
            Op::Remove(name) => {
                self.changed(machine, name);
                self.machines[machine].absent.insert(Arc::clone(name));
                let Some(file) = self.names.remove(name) else { return Answer::NotFound };
                self.forget(&file);
                Answer::Done
            }
            Op::MakeFolder(name) => {
                if self.names.contains_key(name) {
                    return Answer::Exists;
                }
                self.make(machine, name, Content::Folder);
                Answer::Done
            }
            Op::RemoveFolder(folder) => {
                self.changed(machine, folder);
                let below = format!("{folder}/");
                let inside = |name: &Name| name == folder || name.starts_with(&below);
                for (_, file) in self.names.extract_if(.., |name, _| inside(name)).collect::<Vec<_>>() {
                    self.forget(&file);
                }
                Answer::Done
            }
            Op::List(folder) => {
                let names: Vec<String> = self.names.keys().filter_map(|name| child(folder, name)).collect();
                self.machines[machine].lists.insert(Arc::clone(folder), names.clone());
                self.machines[machine].absent.retain(|name| parent(name) != &**folder);
                Answer::Names(names)
            }
            Op::Lock(folder) => {
                if !self.names.contains_key(folder) {
                    return self.missing(machine, folder);
                }
                let holder = *self.locks.entry((machine, Arc::clone(folder))).or_insert(process);
                Answer::Locked(holder == process)
            }
            Op::Stamp(name) => match self.names.get(name).map(|file| &self.files[file].now) {
                None => {
                    self.machines[machine].absent.insert(Arc::clone(name));
                    Answer::Stamp(None)
                }
                Some(_) if mutation == Mutation::CopyUnchecked => Answer::Stamp(Some((1, Content::Folder))),
                Some(content) => Answer::Stamp(Some(stamp_of(content))),
            },
            Op::Copy(source, target) => {
                let Some(file) = self.names.get(source) else { return self.missing(machine, source) };
                let content = self.files[file].now.clone();
                if !self.names.contains_key(parent(target)) {
                    return Answer::NotFound;
                }
                self.make(machine, target, content);
                if mutation == Mutation::CompleteBeforeSync {
                    self.forget_when_power_fails(target);
                }
                Answer::Done
            }
            Op::CreateStore(folder) => {
                // Who slept over its own seal may still make one: it finds the seal before it serves anything of it.
                if self.acknowledged != 0 && !self.is_sealed(folder) {
                    self.broken = Some("an empty store is made beside one that holds data".to_owned());
                }
                self.make(machine, &file_in(folder, "store.db"), Content::Store(0));
                Answer::Done
            }
            Op::OpenStore(folder) => {
                if !self.names.contains_key(&file_in(folder, "store.db")) {
                    return Answer::NotFound;
                }
                let log = file_in(folder, "store.db-wal");
                if !self.names.contains_key(&log) {
                    self.make(machine, &log, Content::Log { salt: 0, writes: 0 });
                }
                Answer::Writes(self.writes_in(folder, |inode| &inode.now))
            }
            Op::Append(folder) => {
                let write = 1 << self.begun;
                self.begun += 1;
                if let Some(inode) = self.file_mut(folder, "store.db-wal")
                    && let Content::Log { writes, .. } = &mut inode.now
                {
                    *writes |= write;
                }
                Answer::Writes(write)
            }
            Op::SyncStore(folder) => {
                if mutation != Mutation::AcknowledgeBeforeSync
                    && let Some(inode) = self.file_mut(folder, "store.db-wal")
                {
                    inode.stable = inode.now.clone();
                }
                Answer::Done
            }
            Op::Checkpoint(folder) => {
                self.checkpoint(folder);
                Answer::Done
            }
            Op::CloseStore(folder) => {
                self.checkpoint(folder);
                let log = file_in(folder, "store.db-wal");
                self.execute(&Op::Remove(log), process, machine, mutation);
                Answer::Done
            }
            Op::Acknowledge(write) => {
                self.acknowledged |= write;
                Answer::Done
            }
            Op::Observe(seen) => {
                if self.acknowledged & !seen != 0 {
                    self.broken =
                        Some("a read is answered without a write that was acknowledged before".to_owned());
                }
                Answer::Done
            }
            // The search answers these.
            Op::Boottime | Op::Sleep(_) | Op::Order => Answer::Time(NOW),
        }
    }

    fn write(
        &mut self,
        process: usize,
        file: &Name,
        block: usize,
        bytes: &Block,
        mutation: Mutation,
    ) -> Answer {
        let is_seal = *bytes == Block::Filled(b'S');
        match mutation {
            Mutation::NoSeals if is_seal => return Answer::Done,
            Mutation::SealAfterChoice if is_seal => {
                self.held_back.insert((process, Arc::clone(file)));
                return Answer::Done;
            }
            Mutation::SealAfterChoice if block == 2 => {
                for (_, seal) in
                    self.held_back.extract_if(.., |(writer, _)| *writer == process).collect::<Vec<_>>()
                {
                    self.write(process, &seal, 0, &Block::Filled(b'S'), Mutation::None);
                }
            }
            _ => {}
        }
        if let Some(inode) = self.files.get_mut(file)
            && let Content::Blocks(blocks) = &mut inode.now
        {
            blocks[block] = bytes.clone();
        }
        Answer::Done
    }

    /// The log goes into the store, and the log begins anew.
    fn checkpoint(&mut self, folder: &Name) {
        let mut moved = 0;
        if let Some(inode) = self.file_mut(folder, "store.db-wal")
            && let Content::Log { salt, writes } = &mut inode.now
        {
            moved = std::mem::take(writes);
            *salt += u8::from(moved != 0);
            inode.stable = inode.now.clone();
        }
        if let Some(inode) = self.file_mut(folder, "store.db")
            && let Content::Store(writes) = &mut inode.now
        {
            *writes |= moved;
            inode.stable = inode.now.clone();
        }
    }

    fn file_mut(&mut self, folder: &Name, name: &str) -> Option<&mut Inode> {
        self.files.get_mut(self.names.get(&file_in(folder, name))?)
    }

    fn make(&mut self, machine: usize, name: &Name, content: Content) {
        self.changed(machine, name);
        let mut file = Arc::clone(name);
        while self.files.contains_key(&file) {
            file = format!("{file}'").into();
        }
        self.names.insert(Arc::clone(name), Arc::clone(&file));
        self.files.insert(file, Inode { now: content.clone(), stable: content });
    }

    /// Drops a file without a name, but for seals and epochs, which their holders keep open.
    fn forget(&mut self, file: &Name) {
        let held = file.ends_with(".seal") || self.names.values().any(|named| named == file);
        let epoch = matches!(&self.files[file].now, Content::Blocks(blocks) if blocks.len() == 4);
        if !held && (!epoch || file.contains("/.new-")) {
            self.files.remove(file);
        }
    }

    /// Whether a file has a name.
    pub(super) fn has(&self, name: &Name, file: &str) -> bool {
        self.names.get(name).is_some_and(|named| **named == *file)
    }

    fn forget_when_power_fails(&mut self, name: &Name) {
        if let Some(inode) = self.files.get_mut(&self.names[name]) {
            inode.stable = match inode.now {
                Content::Log { .. } => Content::Log { salt: 0, writes: 0 },
                _ => Content::Store(0),
            };
        }
    }

    /// A machine that changes a folder sees that its memory of it is old, if it is.
    fn changed(&mut self, machine: usize, name: &Name) {
        let folder = parent(name);
        self.machines[machine].absent.retain(|absent| parent(absent) != folder);
        self.machines[machine].lists.remove(folder);
    }

    fn missing(&mut self, machine: usize, name: &Name) -> Answer {
        self.machines[machine].absent.insert(Arc::clone(name));
        Answer::NotFound
    }

    fn look_at(&mut self, machine: usize, file: &Name) -> Answer {
        // One that was removed is empty to whoever still looks.
        let content = self.files.get(file).map_or(Content::Blocks(Vec::new()), |inode| inode.now.clone());
        self.machines[machine].pages.entry(Arc::clone(file)).or_insert_with(|| content.clone());
        Answer::File(Arc::clone(file), content)
    }

    /// A process has ended: its locks are gone.
    pub(super) fn unlock(&mut self, process: usize) {
        self.locks.retain(|_, holder| *holder != process);
    }

    /// Whether a call changes nothing because it was done before.
    pub(super) fn is_done(&self, op: &Op) -> bool {
        let Op::Write(file, block, bytes) = op else { return false };
        matches!(self.files.get(file).map(|inode| &inode.now), Some(Content::Blocks(blocks)) if blocks[*block] == *bytes)
    }

    /// Everything stops, and what was not synced is gone.
    pub(super) fn lose_power(&mut self) {
        for inode in self.files.values_mut() {
            inode.now = inode.stable.clone();
        }
        self.locks.clear();
        self.machines.fill(Memory::default());
    }

    /// Forgets what makes no difference to a model, for it would only multiply the states.
    pub(super) fn without_memory_for(mut self, model: &Model) -> Self {
        let pages = model.mutation == Mutation::SealReadThroughCache;
        for machine in &mut self.machines {
            if !pages {
                machine.pages.clear();
            }
            if !model.memory {
                machine.lists.clear();
                machine.absent.clear();
            }
        }
        self
    }
}

/// Size and head. The times prove nothing here: they never change.
fn stamp_of(content: &Content) -> (u64, Content) {
    match content {
        Content::Log { salt, writes } => {
            (u64::from(writes.count_ones()), Content::Log { salt: *salt, writes: 0 })
        }
        _ => (1, Content::Folder),
    }
}

pub(super) fn file_in(folder: &str, name: &str) -> Name {
    format!("{folder}/{name}").into()
}

fn parent(name: &str) -> &str {
    match name.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

fn child(folder: &str, name: &str) -> Option<String> {
    (parent(name) == folder && name != "/").then(|| name.rsplit_once('/').map(|(_, name)| name.to_owned()))?
}
