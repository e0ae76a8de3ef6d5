//! What a status says of memory. Pure: the [`keeper`](super::keeper) writes it, as a field manager of its own.

use atsign_crds::condition::{MEMORY_CAP_REACHED, MEMORY_PRESSURE, RESIZE_BLOCKED};
use atsign_crds::{AtSign, MemoryStatus, quantity};
use atsign_protocol::Usage;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::act::{Blocked, Why};
use super::decide::Decided;
use super::ladder::Limits;
use super::pod::PodView;
use crate::condition::{Because, condition};

/// The conditions that are written here.
const OURS: [&str; 3] = [MEMORY_PRESSURE, MEMORY_CAP_REACHED, RESIZE_BLOCKED];
/// The placement of a server that is being moved.
const MOVING: &str = "Moving";
/// How often the status follows what a server uses, at most.
const USED_PERIOD: SignedDuration = SignedDuration::from_mins(5);

/// What a status says of memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// The figures.
    pub memory: MemoryStatus,
    /// The conditions that are true.
    pub conditions: Vec<Condition>,
}

impl Said {
    /// What the status of `at_sign` says.
    pub fn by(at_sign: &AtSign) -> Self {
        let status = at_sign.status.clone().unwrap_or_default();
        let mut conditions = status.conditions;
        conditions.retain(|condition| OURS.contains(&condition.type_.as_str()));
        Self { memory: status.memory.unwrap_or_default(), conditions }
    }

    /// Whether it says that the server is being moved.
    pub fn is_moving(&self) -> bool {
        self.memory.placement.as_deref() == Some(MOVING)
    }

    /// The reason of a condition that is true.
    pub fn reason(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

/// A size that a pod has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it had.
    pub from: u64,
    /// What it has.
    pub to: u64,
    /// Why.
    pub why: Why,
    /// What the server needed when this was asked for.
    pub need: u64,
}

impl Change {
    /// In a sentence.
    pub fn sentence(&self) -> String {
        let (from, to, need) =
            (quantity::display(self.from), quantity::display(self.to), in_mebibytes(self.need));
        let because = match self.why {
            Why::Need => format!("the server needs {need}"),
            Why::Killed => "the server was killed for want of memory".to_owned(),
            Why::Restored => "that is what it needed before".to_owned(),
            Why::Default => "that is the default now".to_owned(),
            Why::LessFits => "that is what fits".to_owned(),
            Why::TakenBack => "what was asked for failed".to_owned(),
            Why::Moved => "it was moved to where there is room".to_owned(),
            Why::NoNode => "no node has room for more".to_owned(),
            Why::LessNeeded => format!("the server needs no more than {need}"),
        };
        format!("from {from} to {to}: {because}")
    }
}

/// What to base a report on.
pub struct Facts<'a> {
    /// The pod, if there is one.
    pub pod: Option<&'a PodView>,
    /// What its memory should be.
    pub decided: Option<&'a Decided>,
    /// What cannot be had.
    pub blocked: Option<&'a Blocked>,
    /// What the server said last.
    pub usage: Option<&'a Usage>,
    /// What its memory may be.
    pub limits: Limits,
    /// Whether it is being moved to another node.
    pub moving: bool,
    /// The AtSign's generation.
    pub generation: Option<i64>,
}

/// The report on `facts`, after `previous`.
pub fn report(previous: &Said, facts: &Facts<'_>, now: Timestamp) -> Said {
    let memory = MemoryStatus {
        current: facts.pod.map(|pod| quantity::display(pod.limit())),
        recommended: facts
            .decided
            .map(|decided| quantity::display(decided.recommended))
            .or(previous.memory.recommended.clone()),
        used: facts.pod.and(used(previous, facts)),
        placement: placement(facts).map(str::to_owned),
        last_resize_reason: previous.memory.last_resize_reason.clone(),
    };
    let wanted = [
        (MEMORY_PRESSURE, pressure(facts)),
        (MEMORY_CAP_REACHED, cap_reached(facts)),
        (RESIZE_BLOCKED, facts.pod.and(blocked(facts))),
    ];
    let conditions = wanted.into_iter().filter_map(|(type_, because)| {
        let before = &previous.conditions;
        because.map(|because| condition(type_, true, &because, before, facts.generation, now))
    });
    Said { memory, conditions: conditions.collect() }
}

/// When `next` may be written after `previous`: at once where it says something new, later where only what is used
/// changed since `written`. `None` where nothing did.
pub fn due(previous: &Said, next: &Said, written: Timestamp, now: Timestamp) -> Option<Timestamp> {
    if previous == next {
        return None;
    }
    let mut but_for_used = next.clone();
    but_for_used.memory.used.clone_from(&previous.memory.used);
    if but_for_used == *previous && previous.memory.used.is_some() {
        return written.checked_add(USED_PERIOD).ok().or(Some(now));
    }
    Some(now)
}

fn placement(facts: &Facts<'_>) -> Option<&'static str> {
    if facts.moving {
        return Some(MOVING);
    }
    let (pod, decided) = (facts.pod?, facts.decided?);
    Some(if pod.limit() == decided.recommended {
        "OnPod"
    } else if facts.blocked.is_some() {
        "Blocked"
    } else {
        "Pending"
    })
}

fn cap_reached(facts: &Facts<'_>) -> Option<Because> {
    let (pod, beyond) = (facts.pod?, facts.decided?.beyond?);
    let cap = quantity::display(facts.limits.cap);
    (pod.limit() >= facts.limits.cap).then(|| {
        Because::new(
            "NeedAboveCap",
            format!(
                "the server would have {} if its cap were not {cap}; it goes on with less cache and refuses what does not fit; raise spec.memory.cap, or choose a larger tier",
                quantity::display(beyond)
            ),
        )
    })
}

fn blocked(facts: &Facts<'_>) -> Option<Because> {
    facts.blocked.map(|blocked| Because::new(blocked.reason, blocked.message.clone()))
}

fn pressure(facts: &Facts<'_>) -> Option<Because> {
    let (pod, decided) = (facts.pod?, facts.decided?);
    if decided.recommended <= pod.limit() && decided.beyond.is_none() {
        return None;
    }
    let reason = match (facts.blocked, decided.beyond) {
        (Some(_), _) => "ResizeBlocked",
        (None, Some(_)) if pod.limit() >= facts.limits.cap => "CapReached",
        // It is on its way.
        _ => return None,
    };
    let size = decided.beyond.unwrap_or(decided.recommended);
    let message =
        format!("the server has {} and needs {}", quantity::display(pod.limit()), quantity::display(size));
    Some(Because::new(reason, message))
}

/// What is used, to an eighth of the limit; where it fell, only if that is clearly less.
fn used(previous: &Said, facts: &Facts<'_>) -> Option<String> {
    let before = previous.memory.used.clone();
    let (Some(usage), Some(pod)) = (facts.usage, facts.pod) else { return before };
    let used = usage.anon.saturating_add(usage.kernel).saturating_add(usage.sock).saturating_add(usage.dirty);
    let eighth = (pod.limit() / 8).max(1);
    if let Some(before) = before.as_deref().and_then(quantity::bytes)
        && before.is_multiple_of(eighth)
        && used <= before
        && used.saturating_add(eighth + eighth / 2) > before
    {
        return Some(quantity::display(before));
    }
    Some(quantity::display(used.div_ceil(eighth).saturating_mul(eighth)))
}

/// `bytes` to a tenth of a mebibyte, for people.
fn in_mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    format!("{}.{}Mi", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MI: u64 = 1 << 20;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn said(limit: u64, anon: u64, beyond: Option<u64>, previous: &Said) -> Said {
        let (pod, usage) = (PodView::running(limit, at(0)), Usage { anon, ..Usage::default() });
        let decided = Decided {
            decision: super::super::decide::Decision::Stay,
            recommended: limit,
            beyond,
            again: None,
        };
        let facts = Facts {
            pod: Some(&pod),
            decided: Some(&decided),
            blocked: None,
            usage: Some(&usage),
            limits: Limits { default: 6 * MI, cap: 24 * MI },
            moving: false,
            generation: Some(1),
        };
        report(previous, &facts, at(100))
    }

    #[test]
    fn what_is_used_is_rounded_and_written_seldom() {
        let first = said(8 * MI, 3 * MI - 5, None, &Said::default());
        assert_eq!(first.memory.used.as_deref(), Some("3Mi"));
        let same = said(8 * MI, 2 * MI - MI / 4, None, &first);
        assert_eq!(due(&first, &same, at(90), at(100)), None, "a little less is no news");
        let less = said(8 * MI, MI, None, &first);
        assert_eq!(less.memory.used.as_deref(), Some("1Mi"));
        assert_eq!(due(&first, &less, at(90), at(100)), Some(at(390)));
        let grown = said(12 * MI, MI, None, &first);
        assert_eq!(due(&first, &grown, at(90), at(100)), Some(at(100)), "a size is told at once");
    }

    #[test]
    fn at_the_cap_the_status_says_what_the_server_would_have_without() {
        let said = said(24 * MI, 20 * MI, Some(32 * MI), &Said::default());
        let cap = said.reason(MEMORY_CAP_REACHED).expect("MemoryCapReached");
        assert!(cap.message.contains("32Mi") && cap.message.contains("spec.memory.cap"), "{}", cap.message);
        assert_eq!(said.reason(MEMORY_PRESSURE).map(|it| it.reason.as_str()), Some("CapReached"));
        assert_eq!(said.reason(RESIZE_BLOCKED), None);
    }

    #[test]
    fn a_change_is_told_as_a_sentence() {
        let change = Change { from: 6 * MI, to: 12 * MI, why: Why::Need, need: 7 * MI + 1 };
        assert_eq!(change.sentence(), "from 6Mi to 12Mi: the server needs 7.1Mi");
    }
}
