//! The regular expressions that clients send.

use atsign_protocol::AtError;
use regex_lite::{Regex, RegexBuilder};

/// Bytes of a compiled regex at most, of the owner and of strangers.
const OWNERS: usize = 64 * 1024;
const STRANGERS: usize = 8 * 1024;

/// Compiles a regex. A search takes time in proportion to the key and to the compiled regex, whatever they are; so its
/// size is what bounds the work, more tightly for strangers.
pub fn compile(pattern: &str, owner: bool) -> Result<Regex, AtError> {
    RegexBuilder::new(pattern)
        .size_limit(if owner { OWNERS } else { STRANGERS })
        .build()
        .map_err(|error| AtError::syntax(format!("the regex is not valid: {error}")))
}
