//! The protocol against everything that machines, clocks and an NFS server may do, in every order.
//!
//! The code that takes a store over is the code of this crate; only [`super::volume::Volume`] is a simulation. What is
//! covered, with which bounds, stands in `docs/decisions/0001-one-writer-by-epochs.md`.

mod call;
mod invariants;
mod machine;
mod process;
mod search;
mod world;

use std::time::Duration;

use atsign_tests::soak::pick;

use super::lease::Term;
use search::search;

/// What is made worse than the protocol is. Each must be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mutation {
    #[default]
    None,
    /// The fence always reads clear.
    SkipFence,
    /// Nobody is sealed.
    NoSeals,
    /// The seals are set only when the epoch is made complete.
    SealAfterChoice,
    /// The fence is answered from what was read first.
    SealReadThroughCache,
    /// A number that exists can be taken again.
    LinkReplaces,
    /// Two claims cannot be told apart.
    SameToken,
    /// A copy is taken for whole whatever happened meanwhile.
    CopyUnchecked,
    /// A copy is called complete before it is on disk.
    CompleteBeforeSync,
    /// A write is acknowledged before it is on disk.
    AcknowledgeBeforeSync,
}

/// One of the processes.
#[derive(Clone, Debug)]
struct Server {
    machine: usize,
    holder: &'static str,
    /// So often it is started again.
    restarts: u8,
}

/// Who takes part, what may happen, and how often.
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
#[derive(Clone, Debug)]
struct Model {
    processes: Vec<Server>,
    mutation: Mutation,
    term: Term,
    /// One clock for all, that goes as it should; otherwise each jumps ahead whenever it likes.
    honest_clocks: bool,
    /// Honest clocks go on in such steps.
    tick: Duration,
    /// The first process serves already, and has acknowledged a write.
    starts_with_data: bool,
    /// Machines remember lists and absent names for as long as they like.
    memory: bool,
    /// Looks of a process that follow each other happen together.
    coarse: bool,
    /// Numbers that can be taken.
    epochs: u64,
    /// Numbers that are kept below the one that serves.
    kept: u64,
    /// Holders that are attested dead.
    dead: Vec<&'static str>,
    writes: u8,
    reads: bool,
    renewals: u8,
    stops: u8,
    tidies: u8,
    checkpoints: u8,
    lost_replies: u8,
    failures: u8,
    crashes: u8,
    power_failures: u8,
    /// So many states are visited, those that are nearest to the first.
    limit: usize,
    /// Of so many states one is asked whether each process, left alone, comes to serve; 0: none.
    alone: u64,
}

impl Model {
    /// Servers of different pods on different machines, and a store that holds something.
    fn of(servers: usize) -> Self {
        let holders = ["pod-0", "pod-1", "pod-2"];
        let term = Term::new(Duration::from_secs(30));
        Self {
            processes: (0..servers)
                .map(|machine| Server { machine, holder: holders[machine], restarts: 0 })
                .collect(),
            mutation: Mutation::None,
            term,
            honest_clocks: false,
            tick: term.silence,
            starts_with_data: true,
            memory: servers == 2,
            coarse: true,
            epochs: 3,
            kept: 64,
            dead: Vec::new(),
            writes: 2,
            reads: false,
            renewals: 0,
            stops: 0,
            tidies: 0,
            checkpoints: 0,
            lost_replies: 0,
            failures: 0,
            crashes: 0,
            power_failures: 0,
            limit: pick(6_000, 5_000_000),
            alone: 16,
        }
    }

    fn ticks_of_silence(&self) -> u32 {
        u32::try_from(self.term.silence.as_nanos().div_ceil(self.tick.as_nanos())).expect("a few")
    }

    /// Nothing that must not be can be reached.
    fn holds(&self) {
        let began = std::time::Instant::now();
        let found = search(self);
        let all = if found.all { "all" } else { "the nearest" };
        println!("{all} {} states in {:.1} s", found.states, began.elapsed().as_secs_f32());
        if let Some((wrong, way)) = found.wrong {
            panic!("{wrong}:\n{}", way.join("\n"));
        }
    }

    /// Made worse like this, it is found out.
    fn fails_with(&self, mutation: Mutation, expected: &str) {
        let found = search(&Self { mutation, alone: 0, limit: 5_000_000, ..self.clone() });
        let (wrong, way) =
            found.wrong.unwrap_or_else(|| panic!("{mutation:?} is not found in {} states", found.states));
        println!("{mutation:?}: {wrong} after {} steps, {} states", way.len(), found.states);
        assert!(wrong.contains(expected), "{mutation:?}: {wrong}:\n{}", way.join("\n"));
    }
}

/// A server that answers, and one that wants its store: pauses, clocks that jump, lists and names that are old.
fn contender() -> Model {
    Model { renewals: 1, checkpoints: 1, ..Model::of(2) }
}

/// A server that answers, and two that want its store.
fn contenders() -> Model {
    Model { epochs: 3, ..Model::of(3) }
}

/// Clean stops, and going on in place, on this machine and on the other.
fn clean_stops() -> Model {
    let mut model = Model { stops: 2, crashes: 1, epochs: 4, writes: 2, ..Model::of(2) };
    model.processes[0].restarts = 1;
    model.processes[1].restarts = 1;
    model
}

/// All machines lose their power at once, and what was not synced.
fn power_failure() -> Model {
    let mut model = Model { power_failures: 1, ..Model::of(2) };
    model.processes[0].restarts = 1;
    model
}

/// Reads while a lease may be over: clocks go as they should, a third of the silence at a time.
fn reads() -> Model {
    let (term, model) = (Term::new(Duration::from_secs(30)), Model::of(2));
    Model { honest_clocks: true, tick: term.silence / 3, reads: true, renewals: 2, crashes: 1, ..model }
}

#[test]
fn a_contender_and_a_late_holder_never_serve_at_once() {
    contender().holds();
}

#[test]
fn two_contenders_and_a_late_holder_never_serve_at_once() {
    contenders().holds();
}

#[test]
fn of_two_that_start_from_nothing_one_makes_the_store() {
    Model { starts_with_data: false, ..Model::of(2) }.holds();
}

#[test]
fn a_reply_that_is_lost_and_asked_for_again_does_no_harm() {
    Model { lost_replies: 1, ..Model::of(2) }.holds();
}

#[test]
fn a_call_that_fails_done_or_not_does_no_harm() {
    Model { failures: 1, ..Model::of(2) }.holds();
}

#[test]
fn a_contender_that_dies_is_skipped_and_its_last_call_may_arrive_when_it_likes() {
    let mut model = Model { crashes: 1, lost_replies: 1, ..Model::of(2) };
    model.processes[1].restarts = 1;
    model.holds();
}

#[test]
fn clean_stops_are_gone_on_from_in_place_by_one() {
    clean_stops().holds();
}

#[test]
fn a_pod_that_starts_again_goes_on_in_place_only_when_its_old_process_is_gone() {
    let mut model = Model { crashes: 1, ..Model::of(3) };
    model.processes[1] = Server { machine: 0, holder: "pod-0", restarts: 0 };
    model.holds();
}

#[test]
fn a_holder_that_was_attested_dead_is_replaced_at_once_and_fenced_where_it_was_not() {
    Model { dead: vec!["pod-0"], ..Model::of(2) }.holds();
}

#[test]
fn what_was_acknowledged_outlives_a_power_failure() {
    power_failure().holds();
}

#[test]
fn a_number_that_was_forgotten_and_is_taken_again_does_not_count() {
    let mut model = Model { kept: 0, tidies: 1, ..Model::of(3) };
    model.processes[0].restarts = 1;
    model.holds();
}

#[test]
fn no_read_is_answered_with_less_than_was_acknowledged_before_it() {
    reads().holds();
}

#[test]
fn no_read_is_answered_with_less_when_one_that_took_a_number_died() {
    Model { processes: Model::of(3).processes, renewals: 1, memory: false, ..reads() }.holds();
}

#[test]
fn without_the_fence_a_late_write_is_acknowledged_and_lost() {
    Model::of(2).fails_with(Mutation::SkipFence, "lacks an acknowledged write");
}

#[test]
fn without_seals_two_serve() {
    Model::of(2).fails_with(Mutation::NoSeals, "");
}

#[test]
fn seals_set_after_the_choice_come_too_late() {
    Model::of(2).fails_with(Mutation::SealAfterChoice, "lacks an acknowledged write");
}

#[test]
fn a_seal_read_through_the_cache_says_nothing() {
    Model::of(2).fails_with(Mutation::SealReadThroughCache, "lacks an acknowledged write");
}

#[test]
fn a_number_that_can_be_taken_twice_is_no_epoch() {
    contenders().fails_with(Mutation::LinkReplaces, "");
}

#[test]
fn claims_that_cannot_be_told_apart_are_both_believed() {
    contenders().fails_with(Mutation::SameToken, "");
}

#[test]
fn a_copy_of_what_moves_is_no_copy() {
    Model { checkpoints: 1, ..Model::of(2) }
        .fails_with(Mutation::CopyUnchecked, "lacks an acknowledged write");
}

#[test]
fn a_copy_that_is_not_on_disk_is_not_complete() {
    power_failure().fails_with(Mutation::CompleteBeforeSync, "lost with the power");
}

#[test]
fn an_acknowledgement_before_the_fsync_is_a_lie() {
    power_failure().fails_with(Mutation::AcknowledgeBeforeSync, "lost with the power");
}

#[test]
fn without_the_silence_a_read_is_answered_beside_a_successor() {
    let mut model = reads();
    model.term.silence = Duration::ZERO;
    model.fails_with(Mutation::None, "a read is answered without");
}
