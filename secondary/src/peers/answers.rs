//! What the directory and other servers send: text of strangers, read before anything is made of it.

use atsign_protocol::AtSign;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::PeerError;

/// The prompt of a client that has proved nothing.
const STRANGER: &str = "@";

const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its host, as its certificate names it.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What the directory's line says: where the server is, or that there is none.
pub fn address(line: &str) -> Result<Option<Address>, PeerError> {
    match line.trim() {
        "null" => Ok(None),
        text => Address::parse(text)
            .map(Some)
            .ok_or(PeerError::Garbled("the directory answered what is no address")),
    }
}

/// The name under which the signature is looked up and the text to sign, in the line that answers `from`.
pub fn challenge(line: &str) -> Result<(&str, &str), PeerError> {
    let Some(proof) = line.strip_prefix("data:proof:") else {
        return Err(PeerError::Handshake(line.to_owned()));
    };
    let (session, text) = proof.rsplit_once(':').unwrap_or_default();
    match session.split('@').next().filter(|session| session.starts_with('_')) {
        Some(session) => Ok((session, text)),
        None => Err(PeerError::Garbled("the answer to from is no proof")),
    }
}

/// Whether a text may be signed for the server of `dialed`. From 3.16 of the reference server on a challenge may name who
/// it is for: one that another server gave to this one, to be let in there as us, is not signed.
pub fn is_for(challenge: &str, dialed: &AtSign) -> bool {
    let Some(bound) = challenge.strip_prefix("pol1.") else { return true };
    let named = BASE64_URL.decode(bound).ok().and_then(|json| serde_json::from_slice::<Bound>(&json).ok());
    named.and_then(|bound| AtSign::parse(&bound.verifier).ok()).is_some_and(|verifier| verifier == *dialed)
}

/// What a challenge says that names who it is for.
#[derive(Deserialize)]
struct Bound {
    #[serde(rename = "v")]
    verifier: String,
}

/// The bytes of a server that are no line yet.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
    /// So many are known to hold no line feed.
    searched: usize,
    /// What the server writes behind each answer.
    prompt: String,
}

impl Default for Received {
    fn default() -> Self {
        Self { bytes: Vec::new(), searched: 0, prompt: STRANGER.to_owned() }
    }
}

impl Received {
    /// Where what comes is added.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bytes.len()
    }

    /// The next line, without its line feed and the prompt of the answer before it; `None` until all of it has come.
    pub fn line(&mut self) -> Result<Option<String>, PeerError> {
        let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let rest = self.bytes.split_off(self.searched + end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        line.pop();
        // Behind an error stands the prompt of a stranger, also on a proven connection.
        let prompt =
            [self.prompt.as_str(), STRANGER].into_iter().find(|prompt| line.starts_with(prompt.as_bytes()));
        line.drain(..prompt.map_or(0, str::len));
        String::from_utf8(line).map(Some).map_err(|_| PeerError::Garbled("it is no text"))
    }

    /// Whether nothing has come behind the last line but its prompt, or the beginning of it: what else there is would be
    /// taken for the answer to the next request.
    pub fn is_quiet(&self) -> bool {
        self.prompt.as_bytes().starts_with(&self.bytes) || self.bytes == STRANGER.as_bytes()
    }

    /// Whether the server has taken us for `own`, which it says by its prompt, without a line feed. The prompt of the
    /// answer before may stand in front of it.
    pub fn is_proven(&mut self, own: &AtSign) -> bool {
        let proven = format!("{own}@");
        let before = self.bytes.strip_prefix(b"@").filter(|rest| rest.starts_with(b"@"));
        let text = before.unwrap_or(&self.bytes);
        let is_it = text.starts_with(proven.as_bytes());
        if is_it {
            self.bytes = text.to_vec();
            (self.searched, self.prompt) = (0, proven);
        }
        is_it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: &str) -> Received {
        Received { bytes: bytes.as_bytes().to_vec(), ..Received::default() }
    }

    #[test]
    fn the_directory_gives_an_address_or_says_that_there_is_none() {
        let at = |host: &str, port| Some(Address { host: host.to_owned(), port });
        assert_eq!(address("bob.example.com:6464\r").expect("an answer"), at("bob.example.com", 6464));
        assert_eq!(address("[fd00::1]:6464").expect("an answer"), at("fd00::1", 6464));
        assert_eq!(address("null\r").expect("an answer"), None);
        for garbage in ["", "bob", "bob:", ":6464", "bob:0", "bob:65536", "data:null"] {
            assert!(matches!(address(garbage), Err(PeerError::Garbled(_))), "{garbage:?}");
        }
    }

    #[test]
    fn the_answer_to_from_names_the_session_and_the_text_to_sign() {
        assert_eq!(challenge("data:proof:_s1@bob:p1").expect("a proof"), ("_s1", "p1"));
        assert!(
            matches!(challenge("error:AT0013-no"), Err(PeerError::Handshake(told)) if told == "error:AT0013-no")
        );
        assert!(matches!(challenge("data:_s1@bob:p1"), Err(PeerError::Handshake(_))));
        for garbage in ["data:proof:", "data:proof:_s1@bob", "data:proof:s1@bob:p1"] {
            assert!(matches!(challenge(garbage), Err(PeerError::Garbled(_))), "{garbage:?}");
        }
    }

    #[test]
    fn a_challenge_that_names_another_verifier_is_not_signed() {
        let alice = AtSign::parse("@alice").expect("an atSign");
        let bound = |json: &str| format!("pol1.{}", BASE64_URL.encode(json));
        for good in ["7e1c", &bound(r#"{"v":"@alice","n":"1"}"#), &bound(r#"{"n":"1","v":"ALICE"}"#)] {
            assert!(is_for(good, &alice), "{good}");
        }
        for bad in
            [&bound(r#"{"v":"@mallory","n":"1"}"#), &bound(r#"{"n":"1"}"#), &bound("x"), "pol1.*", "pol1."]
        {
            assert!(!is_for(bad, &alice), "{bad}");
        }
    }

    #[test]
    fn a_line_is_read_without_the_prompt_of_the_answer_before_it() {
        let mut received = received("@data:1\n@data:2\nda");
        assert_eq!(received.line().expect("text").as_deref(), Some("data:1"));
        assert_eq!(received.line().expect("text").as_deref(), Some("data:2"));
        assert_eq!(received.line().expect("text"), None);
        received.bytes().extend_from_slice(b"ta:3\n");
        assert_eq!(received.line().expect("text").as_deref(), Some("data:3"));
        received.bytes().extend_from_slice(b"\xff\n");
        assert!(received.line().is_err());
    }

    #[test]
    fn a_proven_connection_says_so_by_its_prompt() {
        let own = AtSign::parse("@bob").expect("an atSign");
        for proven in ["@bob@", "@@bob@", "@bob@data:1\n@bob@"] {
            let mut received = received(proven);
            assert!(received.is_proven(&own), "{proven}");
        }
        for other in ["", "@", "@@", "@bob", "bob@", "@bobby@", "@@@bob@", "error:AT0401-no\n@"] {
            assert!(!received(other).is_proven(&own), "{other}");
        }
        let mut received = received("@bob@data:1\n@bob@error:AT0015-no\n@data:@bob@\n@bob@");
        assert!(received.is_proven(&own));
        for line in ["data:1", "error:AT0015-no", "data:@bob@"] {
            assert!(!received.is_quiet(), "{line}");
            assert_eq!(received.line().expect("text").as_deref(), Some(line));
        }
        assert!(received.is_quiet());
        received.bytes().extend_from_slice(b"d");
        assert!(!received.is_quiet());
    }
}
