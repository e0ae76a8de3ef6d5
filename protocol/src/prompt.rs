//! What a server writes beside answers: greeting and prompts (reference page section 1.3).

use crate::at_sign::AtSign;

/// What stands after every answer and tells who the server takes the client for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// `@`: nobody yet. Also the greeting of a new connection.
    Stranger,
    /// `@alice@`: who has proved to be that atSign.
    Proven(&'a AtSign),
}

impl Prompt<'_> {
    /// The bytes, without a line feed.
    pub fn text(self) -> String {
        match self {
            Self::Stranger => "@".to_owned(),
            Self::Proven(at_sign) => format!("{at_sign}@"),
        }
    }
}
