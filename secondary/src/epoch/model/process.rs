//! A server of the model: the code that takes a store over, and then what a store does with an epoch that is its own.

use std::path::{Path, PathBuf};

use super::Model;
use super::call::{Answer, Op, Order};
use super::machine::{Machine, SimulatedFile, SimulatedStore, name};
use super::world::{NOW, Name, World};
use crate::epoch::block::Blocks;
use crate::epoch::decision::FolderLock;
use crate::epoch::fence::{Fence, Reading};
use crate::epoch::files::{EpochFiles, Identity, OwnEpoch};
use crate::epoch::holding::Holding;
use crate::epoch::lease::{Lease, Watch};
use crate::epoch::takeover::{Claimant, TakeoverError, may_pass};
use crate::epoch::volume::Volume as _;

/// A process between two calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Process {
    watch: Watch,
    /// What it holds, once it holds something.
    held: Option<Held>,
    /// What it was answered since it began its look at the epochs, or what it was last asked for.
    pub(super) answers: Vec<Answer>,
    /// What it calls for; nothing once it is no more.
    pub(super) asked: Option<Op>,
    /// It was answered already, and the answer was lost.
    pub(super) resent: bool,
    pub(super) restarts: u8,
    claims: u8,
}

/// All that a server remembers of its epoch from one order to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    number: u64,
    renewals: u64,
    own: Name,
    seal: Name,
    data: String,
    token: String,
    /// The writes that it knows; nothing before it has opened its store.
    writes: Option<u8>,
    /// When its lease was confirmed, in ticks.
    confirmed: Option<u32>,
}

/// How a look, or an order, ended.
enum Outcome {
    /// Not ours: it looks again.
    Waits,
    Holds(Held),
    /// It ends, and may be started again.
    Ends,
    /// It gave up, as only a person should make it do.
    Refuses(String),
}

impl Process {
    /// Runs it to the next call that others can see.
    pub(super) fn proceed(&mut self, model: &Model, mut world: World, index: usize, alone: bool) -> World {
        loop {
            let token = format!("{index}.{}.{}", self.restarts, self.claims);
            let answers = std::mem::take(&mut self.answers);
            let private = format!("/epoch/.new-{token}");
            let machine = Machine::new(model, world, answers, index, token, alone);
            let mut watch = self.watch.clone();
            let ended = machine.run(|machine| match &self.held {
                None => look(model, index, &machine, &mut watch),
                Some(held) => serve(model, &machine, held.clone()),
            });
            let mut run = machine.state();
            world = std::mem::replace(&mut run.world, World::new(0));
            self.asked = run.asked.take();
            let Some(outcome) = ended else {
                self.answers = std::mem::take(&mut run.answers);
                return world;
            };
            // A word that nobody came to know can be used again.
            self.claims += u8::from(run.claimed.as_ref().is_some_and(|epoch| world.has(epoch, &private)));
            match outcome {
                Outcome::Holds(held) => {
                    self.watch = Watch::default();
                    self.held = Some(held);
                    continue;
                }
                Outcome::Waits => {
                    self.watch = watch;
                    if let Some((_, since)) = &mut self.watch.last {
                        *since = (*since).max(model.tick * (NOW - model.ticks_of_silence()));
                    }
                }
                Outcome::Ends if self.restarts < model.processes[index].restarts || alone => self.restart(),
                Outcome::Ends => {
                    *self = Self::default();
                    world.unlock(index);
                    return world;
                }
                Outcome::Refuses(reason) => {
                    world.broken.get_or_insert(format!("it gives up: {reason}"));
                    return world;
                }
            }
            world.unlock(index);
            if alone {
                return world;
            }
        }
    }

    fn restart(&mut self) {
        *self = Self { restarts: self.restarts + 1, ..Self::default() };
    }

    /// Dies at once. True where another one takes its place.
    pub(super) fn crash(&mut self, model: &Model, index: usize) -> bool {
        let again = self.restarts < model.processes[index].restarts;
        self.restart();
        again
    }

    /// Time passes. What its look is made of stays as far apart as it was, for that was decided; and once all of it is
    /// a silence ago, more makes no difference.
    pub(super) fn age(&mut self, model: &Model, ticks: u32) {
        let times = self.answers.iter().filter_map(|answer| match answer {
            Answer::Time(time) => Some(*time),
            _ => None,
        });
        let confirmed = self.held.as_ref().and_then(|held| held.confirmed);
        let newest = times.chain(confirmed).max().unwrap_or(NOW);
        let ticks = ticks.min((newest + model.ticks_of_silence()).saturating_sub(NOW));
        for answer in &mut self.answers {
            if let Answer::Time(time) = answer {
                *time -= ticks;
            }
        }
        if let Some(Op::Sleep(since)) = &mut self.asked {
            *since = NOW - 1;
        }
        if let Some((_, since)) = &mut self.watch.last {
            *since -= model.tick * ticks;
        }
        if let Some(Held { confirmed: Some(confirmed), .. }) = &mut self.held {
            *confirmed -= ticks;
        }
    }

    /// It slept before the look that it begins, so long that what did not change is silent.
    pub(super) fn slept(&mut self, model: &Model) -> bool {
        let long_ago = model.tick * (NOW - model.ticks_of_silence());
        let begins = matches!(self.asked, Some(Op::List(_))) && self.answers.len() == 1;
        match &mut self.watch.last {
            Some((_, since)) if begins && *since > long_ago => {
                *since = long_ago;
                true
            }
            _ => false,
        }
    }
}

/// One look at the epochs.
fn look(model: &Model, index: usize, machine: &Machine, watch: &mut Watch) -> Outcome {
    let dead = model.dead.iter().map(|holder| (*holder).to_owned()).collect::<Vec<_>>();
    let mut claimant = Claimant {
        files: EpochFiles::there(machine.clone(), Path::new("/")),
        at_sign: "@alice".to_owned(),
        holder: model.processes[index].holder.to_owned(),
        term: model.term,
        contents: SimulatedStore(machine.clone()),
        dead: Box::new(move || dead.clone()),
        report: Box::new(|_| {}),
    };
    match claimant.look(watch) {
        Ok(Some(holding)) => Outcome::Holds(Held {
            number: holding.number(),
            renewals: 0,
            own: holding.own.file.file.clone(),
            seal: holding.fence.seal.file.clone(),
            data: holding.identity.data.clone(),
            token: holding.identity.token.clone(),
            writes: None,
            confirmed: None,
        }),
        Ok(None) => Outcome::Waits,
        Err(TakeoverError::Io(error)) if may_pass(&error) => Outcome::Waits,
        Err(error) => Outcome::Refuses(error.to_string()),
    }
}

impl Held {
    fn holding(&self, machine: &Machine) -> Holding<Machine> {
        let file = |name| SimulatedFile::known(machine, name);
        let identity = Identity {
            token: self.token.clone(),
            holder: String::new(),
            at_sign: "@alice".to_owned(),
            data: self.data.clone(),
            since: 0,
        };
        Holding {
            own: OwnEpoch { number: self.number, renewals: self.renewals, file: file(&self.own) },
            fence: Fence { seal: file(&self.seal), buffer: Blocks::zeroed(1) },
            identity,
            folder: PathBuf::from(format!("/{}", self.data)),
            files: EpochFiles::there(machine.clone(), Path::new("/")),
            _lock: FolderLock::Held(()),
        }
    }
}

/// Opens the store, or does what it is asked for next. In the order of the store's thread: nothing is answered before
/// the fence was read after it was on disk.
fn serve(model: &Model, machine: &Machine, mut held: Held) -> Outcome {
    let mut holding = held.holding(machine);
    let folder = name(holding.folder());
    let lease = Lease::new(model.term);
    if let Some(confirmed) = held.confirmed {
        lease.confirm(model.tick * confirmed);
    }
    let Some(writes) = held.writes else {
        let Some(writes) = machine.open_store(&folder) else {
            return match holding.read_fence() {
                Ok(Reading::Clear) => Outcome::Refuses("its own store is missing".to_owned()),
                _ => Outcome::Ends,
            };
        };
        held.writes = Some(writes);
        return renew(machine, holding, &lease, held, Outcome::Ends);
    };
    match machine.order() {
        Order::Write => {
            let write = machine.append(&folder);
            machine.tell(Op::SyncStore(folder));
            loop {
                match holding.read_fence() {
                    Ok(Reading::Clear) => break,
                    Ok(Reading::Sealed) => return Outcome::Ends,
                    Err(_) => {}
                }
            }
            machine.tell(Op::Acknowledge(write));
            held.writes = Some(writes | write);
        }
        Order::Read => {
            if lease.remaining(machine.boottime()).is_some() {
                machine.tell(Op::Observe(writes));
            }
        }
        Order::Renew => {
            let unchanged = Outcome::Holds(held.clone());
            return renew(machine, holding, &lease, held, unchanged);
        }
        Order::Notice => {
            if matches!(holding.read_fence(), Ok(Reading::Sealed)) {
                return Outcome::Ends;
            }
        }
        Order::Checkpoint => machine.tell(Op::Checkpoint(folder)),
        // What is not removed today is removed another time.
        Order::Tidy => drop(holding.tidy_keeping(model.kept)),
        Order::Stop => {
            if matches!(holding.read_fence(), Ok(Reading::Clear)) {
                machine.tell(Op::CloseStore(folder));
                let _ = holding.release();
            }
            return Outcome::Ends;
        }
    }
    Outcome::Holds(held)
}

/// Renews the lease as the store's thread does when it is due. `failed`: what comes of an error of the volume.
fn renew(
    machine: &Machine,
    mut holding: Holding<Machine>,
    lease: &Lease,
    mut held: Held,
    failed: Outcome,
) -> Outcome {
    match holding.renew(lease) {
        Ok(Reading::Clear) => {
            held.renewals = holding.own.renewals;
            held.confirmed = machine.last_time();
            Outcome::Holds(held)
        }
        Ok(Reading::Sealed) => Outcome::Ends,
        Err(_) => failed,
    }
}
