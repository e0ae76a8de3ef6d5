//! Conditions in the sense of kstatus: Ready says whether it works, Reconciling and Stalled why it does not yet or never.

use atsign_crds::condition::{
    POD_SETTINGS_PENDING, QUOTA_EXCEEDED, READY, RECONCILING, STALLED, STORAGE_SIZE_DIFFERS, SUSPENDED,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The conditions that are written here; others in the list have other writers.
pub const OURS: [&str; 7] =
    [READY, RECONCILING, STALLED, SUSPENDED, POD_SETTINGS_PENDING, QUOTA_EXCEEDED, STORAGE_SIZE_DIFFERS];
/// Longest message that a condition takes.
const LONGEST: usize = 32_768;

/// A reason, as a program reads it, and a message, as a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// One word in CamelCase.
    pub reason: &'static str,
    /// A sentence that says what to do next.
    pub message: String,
}

impl Because {
    /// Both.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The server answers.
    Ready(Because),
    /// On its way.
    Reconciling(Because),
    /// On its way, but something is wrong that may need a person.
    Troubled(Because),
    /// Nothing moves until a person changes something.
    Stalled(Because),
    /// Stopped, as was wanted.
    Suspended(Because),
}

impl Progress {
    /// Why.
    pub fn because(&self) -> &Because {
        match self {
            Self::Ready(because)
            | Self::Reconciling(because)
            | Self::Troubled(because)
            | Self::Stalled(because)
            | Self::Suspended(because) => because,
        }
    }

    /// Whether it is worth a warning.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Troubled(_) | Self::Stalled(_))
    }
}

/// The conditions for `progress` at this generation, with those that are `special`; times are kept where the status of a
/// condition is.
pub fn conditions(
    progress: &Progress,
    special: Vec<(&'static str, Because)>,
    previous: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let because = progress.because();
    let normal = |type_: &'static str| (type_, false, Because::new("AsWanted", ""));
    let mut wanted = vec![(READY, matches!(progress, Progress::Ready(_)), because.clone())];
    wanted.push(match progress {
        Progress::Reconciling(_) | Progress::Troubled(_) => (RECONCILING, true, because.clone()),
        _ => normal(RECONCILING),
    });
    wanted.push(match progress {
        Progress::Stalled(_) => (STALLED, true, because.clone()),
        _ => normal(STALLED),
    });
    if let Progress::Suspended(_) = progress {
        wanted.push((SUSPENDED, true, because.clone()));
    }
    wanted.extend(special.into_iter().map(|(type_, because)| (type_, true, because)));
    wanted
        .into_iter()
        .map(|(type_, is, because)| condition(type_, is, &because, previous, generation, now))
        .collect()
}

/// One condition; its time is kept where its status is as before.
pub fn condition(
    type_: &str,
    is: bool,
    because: &Because,
    previous: &[Condition],
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = if is { "True" } else { "False" };
    let before = previous.iter().find(|condition| condition.type_ == type_ && condition.status == status);
    Condition {
        last_transition_time: before
            .map_or_else(|| Time(to_seconds(now)), |before| before.last_transition_time.clone()),
        message: because.message.chars().take(LONGEST / 4).collect(),
        observed_generation: generation,
        reason: because.reason.to_owned(),
        status: status.to_owned(),
        type_: type_.to_owned(),
    }
}

/// The API keeps whole seconds; what is written must be what is read.
fn to_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn of<'a>(conditions: &'a [Condition], type_: &str) -> &'a Condition {
        conditions.iter().find(|condition| condition.type_ == type_).expect("the condition")
    }

    #[test]
    fn a_time_changes_with_the_status_only() {
        let waiting = Progress::Reconciling(Because::new("ServerStarting", "a"));
        let first = conditions(&waiting, Vec::new(), &[], Some(1), at(100));
        let other_reason = Progress::Reconciling(Because::new("Unschedulable", "b"));
        let second = conditions(&other_reason, Vec::new(), &first, Some(2), at(200));
        assert_eq!(of(&second, READY).last_transition_time.0, at(100));
        assert_eq!(of(&second, READY).reason, "Unschedulable");
        assert_eq!(of(&second, READY).observed_generation, Some(2));
        let third = conditions(
            &Progress::Ready(Because::new("ServerReady", "c")),
            Vec::new(),
            &second,
            Some(2),
            at(300),
        );
        assert_eq!(of(&third, READY).last_transition_time.0, at(300));
        assert_eq!(of(&third, STALLED).last_transition_time.0, at(100));
    }

    #[test]
    fn abnormal_conditions_are_true_only_when_something_is() {
        let stalled = conditions(
            &Progress::Stalled(Because::new("TierNotFound", "x")),
            Vec::new(),
            &[],
            Some(1),
            at(1),
        );
        assert_eq!(of(&stalled, STALLED).status, "True");
        assert_eq!(of(&stalled, RECONCILING).status, "False");
        assert_eq!(of(&stalled, READY).status, "False");
        assert!(stalled.iter().all(|condition| condition.type_ != SUSPENDED));
    }
}
