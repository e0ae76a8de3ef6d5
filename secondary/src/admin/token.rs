//! Who may change something over the admin port: whoever shows the token in the file of `--admin-token-file`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

/// A token is shorter: a whole request has 1 KiB.
const LONGEST: u64 = 1024;

/// The token of the admin port. Its file is read anew for each request, for a mounted Secret changes meanwhile.
#[derive(Clone, Debug, Default)]
pub struct AdminToken {
    file: Option<PathBuf>,
}

/// Why a request may not change anything.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody may: there is no token.
    #[error("nothing is changed over this port: the server was started without --admin-token-file")]
    NoToken,
    /// The request does not show the token.
    #[error("this needs the atSign's admin token, in a header `Authorization: Bearer …`")]
    NotShown,
    /// There should be a token.
    #[error("the file of --admin-token-file cannot be used: {0}")]
    File(#[from] io::Error),
}

impl AdminToken {
    /// The token in a file; without one nobody is let in.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// Whether a request with these headers shows the token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), TokenError> {
        let token = self.read()?;
        let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer);
        let is_it = shown.is_some_and(|shown| bool::from(shown.ct_eq(token.as_bytes())));
        if is_it { Ok(()) } else { Err(TokenError::NotShown) }
    }

    /// The token, without the white space around it.
    pub fn read(&self) -> Result<String, TokenError> {
        let file = self.file.as_ref().ok_or(TokenError::NoToken)?;
        let mut text = String::new();
        File::open(file)?.take(LONGEST).read_to_string(&mut text)?;
        match text.trim() {
            // An empty token would be shown by an empty header.
            "" => Err(io::Error::new(io::ErrorKind::InvalidData, "there is no token in it").into()),
            token => Ok(token.to_owned()),
        }
    }
}

/// What follows the scheme, whose name has no case (RFC 9110 section 11.1).
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().expect("a header"))])
    }

    #[test]
    fn only_the_token_of_the_file_lets_a_request_in_also_after_it_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        let token = AdminToken::new(Some(file.clone()));
        std::fs::write(&file, "s3cret\n").expect("write");
        for allowed in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "] {
            assert!(token.check(&shown(allowed)).is_ok(), "{allowed:?}");
        }
        for refused in ["", "s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Basic s3cret"] {
            let error = token.check(&shown(refused)).expect_err(refused);
            assert!(matches!(error, TokenError::NotShown), "{refused:?}: {error}");
        }
        assert!(matches!(token.check(&HeaderMap::new()), Err(TokenError::NotShown)));

        std::fs::write(&file, "another").expect("write");
        assert!(token.check(&shown("Bearer s3cret")).is_err());
        assert!(token.check(&shown("Bearer another")).is_ok());
    }

    #[test]
    fn without_a_token_nobody_is_let_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        assert!(matches!(AdminToken::default().check(&shown("Bearer ")), Err(TokenError::NoToken)));
        let token = AdminToken::new(Some(file.clone()));
        assert!(matches!(token.check(&shown("Bearer ")), Err(TokenError::File(_))), "no file");
        std::fs::write(&file, " \n").expect("write");
        assert!(matches!(token.check(&shown("Bearer ")), Err(TokenError::File(_))), "an empty one");
    }
}
