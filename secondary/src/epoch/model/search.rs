//! Every state that a model can come to, breadth first, so that what is found is found by its shortest way.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Model;
use super::call::{Answer, Op, Order};
use super::process::Process;
use super::world::{NOW, World};

/// A moment: the world, its processes, and what may still go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    world: World,
    processes: Vec<Process>,
    /// Calls of dead processes that are still on their way to the server.
    under_way: Vec<(usize, Op)>,
    left: Left,
}

/// What leads from one state to the next.
#[derive(Clone, Debug)]
enum Step {
    TimePasses,
    PowerFails,
    /// A call of one that is dead arrives at the server.
    Arrives(usize, Op),
    Dies(usize, Option<Op>),
    Slept(usize),
    Asked(usize, Order),
    Answered(usize, Op, Answer),
    Lost(usize, Op, Answer),
    Failed(usize, Op, bool),
}

impl fmt::Display for Step {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimePasses => write!(to, "time passes"),
            Self::PowerFails => write!(to, "the power fails"),
            Self::Arrives(process, op) => write!(to, "{process}, dead: {op:?} arrives"),
            Self::Dies(process, None) => write!(to, "{process} dies"),
            Self::Dies(process, Some(op)) => write!(to, "{process} dies with {op:?} under way"),
            Self::Slept(process) => write!(to, "{process} has slept"),
            Self::Asked(process, order) => write!(to, "{process} is asked: {order:?}"),
            Self::Answered(process, op, answer) => write!(to, "{process}: {op:?} → {answer:?}"),
            Self::Lost(process, op, answer) => write!(to, "{process}: {op:?} → {answer:?}, lost"),
            Self::Failed(process, op, true) => write!(to, "{process}: {op:?} fails, done"),
            Self::Failed(process, op, false) => write!(to, "{process}: {op:?} fails, not done"),
        }
    }
}

/// How often things may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    renewals: u8,
    stops: u8,
    tidies: u8,
    checkpoints: u8,
    lost_replies: u8,
    failures: u8,
    crashes: u8,
    power_failures: u8,
}

/// What a search has to say.
#[derive(Debug)]
pub(super) struct Found {
    /// Different states that were visited.
    pub(super) states: usize,
    /// There are no others.
    pub(super) all: bool,
    /// What is wrong, and the shortest way to it.
    pub(super) wrong: Option<(String, Vec<String>)>,
}

/// Visits all states.
pub(super) fn search(model: &Model) -> Found {
    let first = State::first(model);
    let mut seen = HashSet::from([fingerprint(&first)]);
    let mut ways = vec![(0, Step::TimePasses)];
    let mut queue = VecDeque::from([(0, first)]);
    while let Some((index, state)) = queue.pop_front() {
        if let Err(wrong) = state.check(model) {
            let mut way = Vec::new();
            let mut at = index;
            while at != 0 {
                way.push(ways[at].1.to_string());
                at = ways[at].0;
            }
            way.reverse();
            return Found { states: seen.len(), all: false, wrong: Some((wrong, way)) };
        }
        if seen.len() > model.limit {
            return Found { states: seen.len(), all: false, wrong: None };
        }
        for (label, next) in state.next(model) {
            if seen.insert(fingerprint(&next)) {
                ways.push((index, label));
                queue.push_back((ways.len() - 1, next));
            }
        }
    }
    Found { states: seen.len(), all: true, wrong: None }
}

/// 64 bits tell a million states apart, but for one chance in ten millions.
fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

impl State {
    fn first(model: &Model) -> Self {
        let machines = model.processes.iter().map(|process| process.machine + 1).max().unwrap_or(0);
        let mut world = World::new(machines);
        let mut processes = vec![Process::default(); model.processes.len()];
        // The first comes to serve in peace, and acknowledges a write.
        for (index, process) in processes.iter_mut().enumerate() {
            let serves = model.starts_with_data && index == 0;
            world = process.proceed(model, world, index, serves);
            if serves {
                // Alone it stops where it is asked for something.
                process.answers.push(Answer::Order(Order::Write));
                world = process.proceed(model, world, index, true);
            }
        }
        let left = Left {
            renewals: model.renewals,
            stops: model.stops,
            tidies: model.tidies,
            checkpoints: model.checkpoints,
            lost_replies: model.lost_replies,
            failures: model.failures,
            crashes: model.crashes,
            power_failures: model.power_failures,
        };
        Self { world: world.without_memory_for(model), processes, under_way: Vec::new(), left }
    }

    /// What may happen next.
    fn next(&self, model: &Model) -> Vec<(Step, Self)> {
        let mut next = Vec::new();
        for index in 0..self.processes.len() {
            self.next_of(model, index, &mut next);
        }
        if model.honest_clocks {
            let mut later = self.clone();
            later.processes.iter_mut().for_each(|process| process.age(model, 1));
            next.push((Step::TimePasses, later));
        }
        for (position, (process, op)) in self.under_way.iter().enumerate() {
            let mut later = self.clone();
            later.under_way.remove(position);
            later.world.execute(op, *process, model.processes[*process].machine, model.mutation);
            next.push((Step::Arrives(*process, op.clone()), later));
        }
        if self.left.power_failures > 0 {
            let mut dark = self.clone();
            dark.left.power_failures -= 1;
            dark.under_way.clear();
            dark.world.lose_power();
            for index in 0..dark.processes.len() {
                dark.crash(model, index);
            }
            next.push((Step::PowerFails, dark));
        }
        next
    }

    fn next_of(&self, model: &Model, index: usize, next: &mut Vec<(Step, Self)>) {
        let Some(op) = &self.processes[index].asked else { return };
        let machine = model.processes[index].machine;
        if self.left.crashes > 0 {
            let mut crashed = self.clone();
            crashed.left.crashes -= 1;
            crashed.crash(model, index);
            if matches!(op, Op::Write(..) | Op::Link(..) | Op::Remove(_)) && self.left.lost_replies > 0 {
                let mut late = crashed.clone();
                late.left.lost_replies -= 1;
                late.under_way.push((index, op.clone()));
                next.push((Step::Dies(index, Some(op.clone())), late));
            }
            next.push((Step::Dies(index, None), crashed));
        }
        let mut rested = self.clone();
        if !model.honest_clocks && rested.processes[index].slept(model) {
            next.push((Step::Slept(index), rested));
        }
        match op {
            Op::Order => self.orders(model, index, next),
            Op::Sleep(since) if *since == NOW && model.honest_clocks => {}
            Op::Sleep(_) => {
                let mut awake = self.clone();
                if !model.honest_clocks {
                    awake.processes[index].age(model, model.ticks_of_silence());
                }
                let step = Step::Answered(index, op.clone(), Answer::Done);
                next.push((step, awake.answered(model, index, Answer::Done, None)));
            }
            // Beyond the bound of this model.
            Op::Link(_, to) if beyond(to, model.epochs) => {}
            _ => {
                for (answer, world) in self.world.answers(op, index, machine, model.mutation) {
                    if self.left.lost_replies > 0 && may_be_lost(op) && !self.processes[index].resent {
                        let mut lost = self.clone();
                        lost.world = world.clone();
                        lost.left.lost_replies -= 1;
                        lost.processes[index].resent = true;
                        next.push((Step::Lost(index, op.clone(), answer.clone()), lost));
                    }
                    if self.left.failures > 0 && may_fail(op) {
                        for (done, world) in [(false, None), (true, Some(world.clone()))] {
                            let mut failed = self.answered(model, index, Answer::Failed, world);
                            failed.left.failures -= 1;
                            next.push((Step::Failed(index, op.clone(), done), failed));
                        }
                    }
                    let step = Step::Answered(index, op.clone(), answer.clone());
                    next.push((step, self.answered(model, index, answer, Some(world))));
                }
            }
        }
    }

    fn orders(&self, model: &Model, index: usize, next: &mut Vec<(Step, Self)>) {
        let left = self.left;
        let orders = [
            (Order::Write, self.world.begun < model.writes),
            (Order::Read, model.reads && self.world.acknowledged != 0),
            (Order::Renew, left.renewals > 0),
            (Order::Notice, self.world.begun == model.writes),
            (Order::Checkpoint, left.checkpoints > 0),
            (Order::Tidy, left.tidies > 0),
            (Order::Stop, left.stops > 0),
        ];
        for (order, _) in orders.into_iter().filter(|(_, possible)| *possible) {
            let mut ordered = self.clone();
            let left = &mut ordered.left;
            match order {
                Order::Renew => left.renewals -= 1,
                Order::Checkpoint => left.checkpoints -= 1,
                Order::Tidy => left.tidies -= 1,
                Order::Stop => left.stops -= 1,
                Order::Write | Order::Read | Order::Notice => {}
            }
            next.push((
                Step::Asked(index, order),
                ordered.answered(model, index, Answer::Order(order), None),
            ));
        }
    }

    /// The state after a process got an answer and came to its next call.
    fn answered(&self, model: &Model, index: usize, answer: Answer, world: Option<World>) -> Self {
        let mut next = self.clone();
        let process = &mut next.processes[index];
        process.resent = false;
        process.answers.push(answer);
        let world = process.proceed(model, world.unwrap_or_else(|| self.world.clone()), index, false);
        next.world = world.without_memory_for(model);
        next
    }

    fn crash(&mut self, model: &Model, index: usize) {
        let gone = self.processes[index].asked.is_none();
        self.world.unlock(index);
        if !gone && self.processes[index].crash(model, index) {
            let world = self.processes[index].proceed(model, self.world.clone(), index, false);
            self.world = world.without_memory_for(model);
        }
    }

    fn check(&self, model: &Model) -> Result<(), String> {
        self.world.check()?;
        if model.alone == 0 || !fingerprint(self).is_multiple_of(model.alone) {
            return Ok(());
        }
        for index in 0..self.processes.len() {
            self.serves_alone(model, index)?;
        }
        Ok(())
    }

    /// Whether a process comes to serve if all others stop for ever at this moment.
    fn serves_alone(&self, model: &Model, index: usize) -> Result<(), String> {
        let mut process = self.processes[index].clone();
        if process.asked.is_none() {
            return Ok(());
        }
        let mut world = self.world.clone();
        for _ in 0..24 {
            let ordered = process.asked == Some(Op::Order);
            match process.asked {
                Some(Op::Order) => process.answers.push(Answer::Order(Order::Renew)),
                Some(Op::Sleep(_)) => process.answers.push(Answer::Done),
                _ => {}
            }
            process.slept(model);
            process.age(model, model.ticks_of_silence());
            world = process.proceed(model, world, index, true);
            if let Some(broken) = &world.broken {
                return Err(format!("{index}, left alone: {broken}"));
            }
            if ordered && process.asked == Some(Op::Order) {
                return Ok(());
            }
        }
        Err(format!("{index}, left alone, does not come to serve"))
    }
}

fn may_be_lost(op: &Op) -> bool {
    matches!(op, Op::Link(..) | Op::Remove(_) | Op::RemoveFolder(_) | Op::MakeFolder(_) | Op::Write(..))
}

fn may_fail(op: &Op) -> bool {
    !matches!(op, Op::Append(_) | Op::SyncStore(_) | Op::OpenStore(_) | Op::CloseStore(_) | Op::Checkpoint(_))
}

fn beyond(name: &str, epochs: u64) -> bool {
    name.rsplit_once('/')
        .and_then(|(_, number)| number.parse().ok())
        .is_some_and(|number: u64| number > epochs)
}
