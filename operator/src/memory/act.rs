//! What may be done about one server's memory, why, and what keeps it from being done.

use jiff::Timestamp;

use super::decide::Decided;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ask the API server for another size.
    Resize {
        /// The size.
        to: u64,
        /// Why, as the status says it.
        why: Why,
    },
    /// Ask the server to live with less, and then the API server.
    Shrink {
        /// The size.
        to: u64,
    },
    /// Replace the pod by one of this size, wherever there is room for it.
    Move {
        /// The size.
        to: u64,
    },
}

/// Why a size is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The server needs it.
    Need,
    /// The server was killed for want of memory.
    Killed,
    /// A new pod gets what the one before had.
    Restored,
    /// The tier's or the AtSign's default is more than it has.
    Default,
    /// What was asked for does not fit, this may.
    LessFits,
    /// What was asked for failed, this is what it has.
    TakenBack,
    /// It was moved to where there is room.
    Moved,
    /// No node has room for more.
    NoNode,
    /// It needs less.
    LessNeeded,
}

impl Why {
    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Need => "need",
            Self::Killed => "killed",
            Self::Restored => "restored",
            Self::Default => "default",
            Self::LessFits => "less_fits",
            Self::TakenBack => "taken_back",
            Self::Moved => "moved",
            Self::NoNode => "no_node",
            Self::LessNeeded => "less_needed",
        }
    }
}

/// A size that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The size: larger than what the server has where growing is blocked, smaller where shrinking is.
    pub size: u64,
    /// One word, for the condition.
    pub reason: &'static str,
    /// What to do about it.
    pub message: String,
    /// When to try again; `None`: not with this pod.
    pub until: Option<Timestamp>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What to do now.
    pub act: Option<Act>,
    /// When to look again though nothing was heard.
    pub again: Option<Timestamp>,
    /// What the memory should be.
    pub decided: Decided,
}
