//! What a process of the model calls for, and what it may be answered.

use super::world::{Block, Content, Name};

/// One call of a process. Paths are absolute, `/` being the storage directory; a file is known by the name and
/// generation under which it was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Open(Name, Access),
    Read(Name),
    Write(Name, usize, Block),
    Sync(Name),
    Link(Name, Name),
    Remove(Name),
    MakeFolder(Name),
    RemoveFolder(Name),
    List(Name),
    Lock(Name),
    Stamp(Name),
    Copy(Name, Name),
    Boottime,
    /// Since when.
    Sleep(u32),
    CreateStore(Name),
    OpenStore(Name),
    Append(Name),
    SyncStore(Name),
    Checkpoint(Name),
    CloseStore(Name),
    /// What a server's clients ask for next.
    Order,
    /// A write is acknowledged.
    Acknowledge(u8),
    /// A read is answered with these writes.
    Observe(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Existing,
    Create,
    /// Creates the seal of the caller's own number.
    CreateOwnSeal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Done,
    File(Name, Content),
    Names(Vec<String>),
    Locked(bool),
    Stamp(Option<(u64, Content)>),
    /// Ticks; kept relative to a present that never changes, so that the past fades.
    Time(u32),
    Writes(u8),
    Order(Order),
    NotFound,
    Exists,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    Write,
    Read,
    Renew,
    /// To look at its seal.
    Notice,
    Checkpoint,
    Tidy,
    Stop,
}
