//! `batch:[{"id":1,"command":"update:…"},…]` (reference page section 2.17).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use crate::error::{AtError, ErrorCode};

/// Several commands in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(pub Vec<BatchItem>);

/// One command of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BatchItem {
    /// By which its answer is known.
    pub id: i64,
    /// The command, as a line of its own.
    pub command: String,
}

impl Batch {
    /// The most commands of a batch. Clients send five.
    pub const MAX: usize = 1000;

    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        serde_json::from_str(text).map_err(|error| {
            AtError::new(ErrorCode::InternalServerException, format!("batch has no valid JSON: {error}"))
        })
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items)
    }
}

/// Ends at the item that is too many, before memory is spent on the rest.
struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of commands")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Batch, A::Error> {
        let mut batch = Vec::new();
        while let Some(item) = items.next_element()? {
            if batch.len() == Batch::MAX {
                return Err(A::Error::custom(format!("a batch has at most {} commands", Batch::MAX)));
            }
            batch.push(item);
        }
        Ok(Batch(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_an_id() {
        let batch = Batch::parse(r#"[{"id":1,"command":"update:a@alice 1"},{"id":7,"command":"x"}]"#);
        let batch = batch.expect("a batch");
        assert_eq!(batch.0.iter().map(|item| item.id).collect::<Vec<_>>(), [1, 7]);
        assert_eq!(Batch::parse("[]"), Ok(Batch(Vec::new())));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let many = format!("[{}]", vec![r#"{"id":1,"command":""}"#; Batch::MAX + 1].join(","));
        for text in ["", "{", "{}", "[1]", r#"[{"id":1}]"#, r#"[{"command":"x"}]"#, &many] {
            let refused = Batch::parse(text).expect_err("refused");
            assert_eq!(refused.code(), ErrorCode::InternalServerException);
        }
    }
}
