//! A move: the rollout that gives a server the memory for which its node has no room, on a node that has it. Its
//! connections end, so it is done only where the tier says so, and seldom.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// A rollout that was made for the sake of memory, as the Deployment remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When it was decided, in milliseconds of Unix time. The pods that come of it say so.
    pub at: i64,
    /// The memory that the server had.
    pub from: u64,
    /// The memory that it is to have.
    pub to: u64,
    /// The node that it leaves.
    pub node: String,
}

impl Move {
    /// One that begins now.
    pub fn new(from: u64, to: u64, node: &str, now: Timestamp) -> Self {
        Self { at: now.as_millisecond(), from, to, node: node.to_owned() }
    }

    /// When it was decided.
    pub fn began(&self) -> Timestamp {
        Timestamp::from_millisecond(self.at).unwrap_or_default()
    }
}

/// Whether a server may be moved, and how it was last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// The tier says `whenNodeFull: Move`.
    pub allowed: bool,
    /// The last one, if the Deployment's template is of it.
    pub last: Option<Move>,
}

impl Moves {
    /// Until when it is not moved again: each move ends connections, and one that found no place would not find it soon.
    pub fn rests_until(&self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        let until = self.last.as_ref()?.began().checked_add(policy.move_again_after).ok()?;
        (until > now).then_some(until)
    }

    /// The memory with which a pod that no node takes is to start: what the server had before, if this pod came of a
    /// move, else the least.
    pub fn way_back(&self, pod: Option<i64>, requested: u64, least: u64) -> Option<u64> {
        let before = self.last.as_ref().filter(|last| pod == Some(last.at)).map(|last| last.from);
        [before, Some(least)].into_iter().flatten().find(|size| *size < requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_no_node_takes_goes_back_to_what_the_server_had_and_then_to_the_least() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let moves = Moves { allowed: true, last: Some(Move::new(8, 16, "n", now)) };
        let at = Some(now.as_millisecond());
        assert_eq!(moves.way_back(at, 16, 6), Some(8));
        assert_eq!(moves.way_back(at, 8, 6), Some(6));
        assert_eq!(moves.way_back(at, 6, 6), None);
        assert_eq!(moves.way_back(None, 16, 6), Some(6), "a pod of another rollout");
    }

    #[test]
    fn a_server_rests_after_a_move() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let (policy, later) =
            (Policy::standard(), |seconds: i64| Timestamp::from_second(1_000_000 + seconds).ok());
        let moves = Moves { allowed: true, last: Some(Move::new(8, 16, "n", now)) };
        assert_eq!(moves.rests_until(&policy, now), later(3600));
        assert_eq!(moves.rests_until(&policy, later(3600).expect("a time")), None);
        assert_eq!(Moves::default().rests_until(&policy, now), None);
    }
}
