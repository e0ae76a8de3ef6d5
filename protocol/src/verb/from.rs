//! `from:[@]ATSIGN[:clientConfig:{json}]` (reference page section 2.1).

use serde::Deserialize;

use crate::at_sign::AtSign;
use crate::error::{AtError, ErrorCode};
use crate::key::strip_tag;

/// The last version of the clients that read errors as plain text.
const LAST_PLAIN_VERSION: [u64; 3] = [3, 0, 37];

/// Says who the client claims to be, and asks for a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Who the client claims to be.
    pub at_sign: AtSign,
    /// What the client tells about itself.
    pub client: Option<ClientConfig>,
}

/// What a client tells about itself. Fields that no answer depends on are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    /// Version of its protocol library, `3.0.45`.
    pub version: Option<String>,
}

impl ClientConfig {
    /// Whether errors are written as JSON (reference page section 1.4).
    pub fn reads_json_errors(&self) -> bool {
        let Some(version) = &self.version else { return false };
        let mut numbers = [0; 3];
        // `3.0.45+7` and `3.0.45-beta` count as 3.0.45.
        let plain = version.split(['-', '+']).next().unwrap_or_default();
        let mut parts = plain.split('.');
        for number in &mut numbers {
            match parts.next().map(str::parse) {
                Some(Ok(part)) => *number = part,
                None => {}
                Some(Err(_)) => return false,
            }
        }
        numbers > LAST_PLAIN_VERSION
    }
}

impl From {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (name, config) = match text.split_once(':') {
            Some((name, config)) => (name, Some(config)),
            None => (text, None),
        };
        let client = match config {
            None => None,
            Some(config) => {
                let json = strip_tag(config, "clientConfig")
                    .ok_or_else(|| AtError::syntax("only clientConfig may follow the atSign"))?;
                Some(
                    serde_json::from_str(json)
                        .map_err(|_| AtError::syntax("clientConfig is no valid JSON object"))?,
                )
            }
        };
        let bare = name.strip_prefix('@').unwrap_or(name);
        if bare.is_empty() || bare.contains(|c: char| c == '@' || c.is_whitespace()) {
            return Err(AtError::syntax("from needs one atSign"));
        }
        let at_sign = AtSign::parse(name).map_err(|wrong| {
            AtError::new(ErrorCode::InternalServerException, wrong.to_string()).and_close()
        })?;
        Ok(Self { at_sign, client })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_at_may_be_left_out() {
        for text in ["@alice", "alice", "@ALICE"] {
            assert_eq!(From::parse(text).map(|from| from.at_sign.to_string()), Ok("@alice".into()), "{text}");
        }
    }

    #[test]
    fn a_client_newer_than_3_0_37_reads_json_errors() {
        for (version, json) in [
            ("3.0.37", false),
            ("3.0.38", true),
            ("3.1", true),
            ("4", true),
            ("2.9.99", false),
            ("3.0.45-beta+1", true),
            ("new", false),
            ("", false),
        ] {
            let text = format!(r#"@alice:clientConfig:{{"version":"{version}","clientId":"x"}}"#);
            let client = From::parse(&text).expect("a from").client.expect("a client config");
            assert_eq!(client.reads_json_errors(), json, "{version}");
        }
    }

    #[test]
    fn a_character_that_no_atsign_has_closes_the_connection() {
        let refused = From::parse("al!ice").expect_err("no atSign");
        assert_eq!((refused.code(), refused.closes()), (ErrorCode::InternalServerException, true));
    }

    #[test]
    fn anything_else_is_a_wrong_command() {
        for text in [
            "@",
            "@alice:x",
            "@alice:clientConfig:",
            "@alice:clientConfig:[",
            "al ice",
            "@a@b",
            "@@a",
            "🦄@b",
        ] {
            assert_eq!(From::parse(text).map_err(|e| e.code()), Err(ErrorCode::InvalidSyntax), "{text}");
        }
    }
}
