//! A simulated machine: [`Volume`] by answers from a record.
//!
//! The protocol's code runs from its beginning with the answers that it was given so far; at the first call beyond them
//! it is abandoned by unwinding. So the code itself is the model, and where it stands is what it was answered.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::call::{Access, Answer, Op, Order};
use super::world::{Block, Content, NOW, Name, World};
use super::{Model, Mutation};
use crate::epoch::block::{BLOCK, Blocks};
use crate::epoch::copy::Stamp;
use crate::epoch::decision::FolderLock;
use crate::epoch::takeover::{Contents, TakeoverError};
use crate::epoch::volume::{Blockwise, Open, Volume};

/// One process of a run, and the world around it.
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
#[derive(Debug)]
pub(super) struct Run {
    pub(super) world: World,
    pub(super) answers: Vec<Answer>,
    position: usize,
    /// The call that has no answer yet.
    pub(super) asked: Option<Op>,
    pub(super) process: usize,
    pub(super) machine: usize,
    pub(super) mutation: Mutation,
    /// The power may fail in this run, so that syncing matters.
    power: bool,
    /// Calls may fail or be answered twice in this run.
    failures: bool,
    /// Looks that follow each other happen together.
    coarse: bool,
    /// The last call was a look.
    looks: bool,
    /// Whatever it calls for is answered at once, as on a good day.
    alone: bool,
    tick: Duration,
    token: String,
    /// The name of the epoch that it tries to take; some once it tried.
    pub(super) claimed: Option<Name>,
}

#[derive(Clone, Debug)]
pub(super) struct Machine(Arc<Mutex<Run>>);

/// Abandons the code at a call.
struct Abandoned;

impl Machine {
    pub(super) fn new(
        model: &Model,
        world: World,
        answers: Vec<Answer>,
        process: usize,
        token: String,
        alone: bool,
    ) -> Self {
        let token = if model.mutation == Mutation::SameToken { "same".to_owned() } else { token };
        Self(Arc::new(Mutex::new(Run {
            world,
            answers,
            position: 0,
            asked: None,
            process,
            machine: model.processes[process].machine,
            mutation: model.mutation,
            power: model.power_failures > 0,
            coarse: model.coarse,
            looks: false,
            failures: model.failures + model.lost_replies > 0,
            alone,
            tick: model.tick,
            token,
            claimed: None,
        })))
    }

    /// Runs `code` on this machine until it ends or calls for something that has no answer yet.
    pub(super) fn run<T>(&self, code: impl FnOnce(Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| code(self.clone()))) {
            Ok(ended) => Some(ended),
            Err(reason) if reason.is::<Abandoned>() => None,
            Err(reason) => resume_unwind(reason),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn ask(&self, op: Op) -> Answer {
        let mut run = self.state();
        let looked = run.looks;
        run.looks = if op == Op::Boottime { looked } else { is_look(&op) };
        if let Some(answer) = run.answers.get(run.position).cloned() {
            run.position += 1;
            return answer;
        }
        let waits = matches!(op, Op::Order | Op::Sleep(_));
        if (run.alone && !waits) || (run.coarse && looked && is_look(&op)) || run.is_private(&op) {
            return run.execute(&op);
        }
        run.asked = Some(op);
        drop(run);
        resume_unwind(Box::new(Abandoned));
    }

    fn done(&self, op: Op) -> io::Result<()> {
        match self.ask(op) {
            Answer::NotFound => Err(io::ErrorKind::NotFound.into()),
            Answer::Exists => Err(io::ErrorKind::AlreadyExists.into()),
            Answer::Failed => Err(io::Error::other("the volume failed")),
            _ => Ok(()),
        }
    }

    /// The writes in the store of a folder; none where there is no store.
    pub(super) fn open_store(&self, folder: &Name) -> Option<u8> {
        match self.ask(Op::OpenStore(Arc::clone(folder))) {
            Answer::Writes(writes) => Some(writes),
            _ => None,
        }
    }

    pub(super) fn append(&self, folder: &Name) -> u8 {
        match self.ask(Op::Append(Arc::clone(folder))) {
            Answer::Writes(write) => write,
            _ => 0,
        }
    }

    pub(super) fn order(&self) -> Order {
        match self.ask(Op::Order) {
            Answer::Order(order) => order,
            _ => Order::Stop,
        }
    }

    pub(super) fn tell(&self, op: Op) {
        self.ask(op);
    }

    /// When the clock was last read.
    pub(super) fn last_time(&self) -> Option<u32> {
        self.state().answers.iter().rev().find_map(|answer| match answer {
            Answer::Time(time) => Some(*time),
            _ => None,
        })
    }
}

/// Whether it changes nothing that others see; a copy goes to a folder that only its maker knows.
fn is_look(op: &Op) -> bool {
    match op {
        Op::Open(_, access) => *access == Access::Existing,
        Op::List(_) | Op::Stamp(_) | Op::Copy(..) | Op::Lock(_) => true,
        _ => false,
    }
}

pub(super) fn name(path: &Path) -> Name {
    path.to_string_lossy().into_owned().into()
}

/// An open file of a simulated machine.
#[derive(Debug)]
pub(super) struct SimulatedFile {
    machine: Machine,
    pub(super) file: Name,
    /// What was in it when it was opened, for files that are read at once; seals are read when they are.
    content: Option<Content>,
    /// Already under the name that others know.
    shared: bool,
    wrote: Mutex<bool>,
}

impl Blockwise for SimulatedFile {
    fn read(&self, first: usize, blocks: &mut Blocks) -> io::Result<usize> {
        let content = match &self.content {
            Some(content) => content.clone(),
            // Nobody writes anything else to a seal, so what we wrote is what is there.
            None if *self.wrote.lock().expect("no panic") => Content::Blocks(vec![Block::Filled(b'S')]),
            None => match self.machine.ask(Op::Read(Arc::clone(&self.file))) {
                Answer::File(_, content) => content,
                _ => return Err(io::Error::other("the volume failed")),
            },
        };
        let Content::Blocks(stored) = content else { return Err(io::ErrorKind::InvalidData.into()) };
        let mut count = 0;
        for (target, block) in blocks.as_mut().chunks_mut(BLOCK).zip(stored.iter().skip(first)) {
            match block {
                Block::Zeros => target.fill(0),
                Block::Filled(byte) => target.fill(*byte),
                Block::Text(text) => {
                    target.fill(0);
                    target[..text.len()].copy_from_slice(text);
                }
            }
            count += BLOCK;
        }
        Ok(count)
    }

    fn write(&self, first: usize, blocks: &Blocks) -> io::Result<()> {
        *self.wrote.lock().expect("no panic") = true;
        for (index, bytes) in blocks.as_ref().chunks(BLOCK).enumerate() {
            let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let block = match length {
                0 => Block::Zeros,
                BLOCK => Block::Filled(bytes[0]),
                _ => Block::Text(bytes[..length].into()),
            };
            // A new file is zeros anyway, and only a whole private file is written at once.
            if blocks.as_ref().len() > BLOCK && block == Block::Zeros {
                continue;
            }
            let op = Op::Write(Arc::clone(&self.file), first + index, block);
            self.change(op)?;
        }
        Ok(())
    }

    fn extend_to_one_block(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.change(Op::Sync(Arc::clone(&self.file)))
    }
}

impl SimulatedFile {
    /// Others see it, or it is a file that only we know.
    fn change(&self, op: Op) -> io::Result<()> {
        if self.shared {
            return self.machine.done(op);
        }
        let mut run = self.machine.state();
        if run.position < run.answers.len() {
            run.position += 1;
        } else {
            run.execute(&op);
        }
        Ok(())
    }
}

impl Run {
    /// Whether nobody else can tell when this happens, so that it happens together with what comes before it.
    fn is_private(&self, op: &Op) -> bool {
        let own = |name: &Name| self.claimed.as_ref() == Some(name);
        match op {
            Op::Boottime | Op::Acknowledge(_) | Op::Observe(_) => true,
            Op::Sync(_) | Op::SyncStore(_) => !self.power,
            Op::Open(name, access) => *access == Access::Create || name.contains("/.new-") || own(name),
            Op::Remove(name) if name.contains("/.new-") => true,
            Op::Remove(_) | Op::MakeFolder(_) | Op::Lock(_) => self.claimed.is_some() && !self.failures,
            op => self.world.is_done(op),
        }
    }

    fn execute(&mut self, op: &Op) -> Answer {
        let answer = self.world.execute(op, self.process, self.machine, self.mutation);
        self.answers.push(answer.clone());
        self.position += 1;
        answer
    }
}

impl SimulatedFile {
    /// A file that was opened before.
    pub(super) fn known(machine: &Machine, file: &Name) -> Self {
        let (machine, file) = (machine.clone(), Arc::clone(file));
        Self { machine, file, content: None, shared: true, wrote: Mutex::new(false) }
    }
}

impl Volume for Machine {
    type File = SimulatedFile;
    type Lock = ();

    fn open(&self, path: &Path, how: Open) -> io::Result<SimulatedFile> {
        let name = name(path);
        let private = name.contains("/.new-");
        let own_seal = self.state().claimed.as_ref().is_some_and(|epoch| *name == *format!("{epoch}.seal"));
        let access = match how {
            Open::Create if own_seal => Access::CreateOwnSeal,
            Open::Create => Access::Create,
            Open::Read | Open::Write => Access::Existing,
        };
        match self.ask(Op::Open(Arc::clone(&name), access)) {
            Answer::File(file, content) => Ok(SimulatedFile {
                machine: self.clone(),
                file,
                content: (how != Open::Create).then_some(content),
                shared: !private,
                wrote: Mutex::new(false),
            }),
            Answer::NotFound => Err(io::ErrorKind::NotFound.into()),
            Answer::Done => Ok(SimulatedFile {
                machine: self.clone(),
                file: name,
                content: None,
                shared: true,
                wrote: Mutex::new(false),
            }),
            _ => Err(io::Error::other("the volume failed")),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().claimed = Some(name(to));
        self.done(Op::Link(name(from), name(to)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.done(Op::Remove(name(path)))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.done(Op::MakeFolder(name(path)))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.done(Op::RemoveFolder(name(path)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        match self.ask(Op::List(name(path))) {
            Answer::Names(names) => Ok(names),
            _ => Err(io::Error::other("the volume failed")),
        }
    }

    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, folder: &Path) -> io::Result<FolderLock<()>> {
        match self.ask(Op::Lock(name(folder))) {
            Answer::Locked(true) => Ok(FolderLock::Held(())),
            Answer::Locked(false) => Ok(FolderLock::Busy),
            Answer::NotFound => Err(io::ErrorKind::NotFound.into()),
            _ => Err(io::Error::other("the volume failed")),
        }
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        match self.ask(Op::Stamp(name(path))) {
            Answer::Stamp(seen) => Ok(seen.map(|(size, head)| Stamp {
                size,
                modified: (0, 0),
                changed: (0, 0),
                head: format!("{head:?}").into_bytes(),
            })),
            _ => Err(io::Error::other("the volume failed")),
        }
    }

    fn copy(&self, source: &Path, target: &Path, _stop: &dyn Fn() -> bool) -> io::Result<bool> {
        self.done(Op::Copy(name(source), name(target))).map(|()| true)
    }

    fn room(&self, _folder: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Always the same: moments that differ only in it are one state.
    fn unix_seconds(&self) -> i64 {
        0
    }

    fn boottime(&self) -> Duration {
        let tick = self.state().tick;
        match self.ask(Op::Boottime) {
            Answer::Time(ticks) => tick * ticks,
            _ => tick * NOW,
        }
    }

    fn sleep(&self, _time: Duration) {
        self.ask(Op::Sleep(NOW));
    }

    fn token(&self) -> String {
        self.state().token.clone()
    }

    fn beside<T>(
        &self,
        _every: Duration,
        _beat: impl FnMut() + Send,
        work: impl FnOnce() -> T,
    ) -> io::Result<T> {
        // Whoever renews in time is only harder to replace; nobody does here.
        Ok(work())
    }
}

/// What the epochs know of a store, on a simulated machine.
pub(super) struct SimulatedStore(pub(super) Machine);

impl Contents for SimulatedStore {
    const FILES: &'static [&'static str] = &["store.db", "store.db-wal"];

    fn create(&self, folder: &Path) -> Result<(), TakeoverError> {
        Ok(self.0.done(Op::CreateStore(name(folder)))?)
    }

    fn check(&self, _folder: &Path) -> Result<(), TakeoverError> {
        Ok(())
    }
}
