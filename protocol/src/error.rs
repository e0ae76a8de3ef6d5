//! The errors of the protocol and their three formats on the wire (reference page sections 1.4 and 1.5).

use std::fmt;

use serde::Serialize;

/// Declares the codes once: variant, code, standard description, whether the server closes the connection after it.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $code:literal, $description:literal, $closes:literal;)*) => {
        /// What went wrong, as a code that every client knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code that another server wrote, `None` for one that is not known here.
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.code() == code)
            }

            /// `AT0015` and its like.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The standard description, shown to the owner before the message.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }

            /// Whether the server closes the connection after this error.
            pub fn closes(self) -> bool {
                match self { $(Self::$variant => $closes,)* }
            }
        }
    };
}

codes! {
    /// A failure without a better name.
    ServerException, "AT0001", "Server exception", true;
    /// The store does not answer.
    DataStore, "AT0002", "DataStore exception", true;
    /// Not a command, or not as the grammar wants it.
    InvalidSyntax, "AT0003", "Invalid syntax", false;
    /// A connection to another server broke.
    Socket, "AT0004", "Socket error", false;
    /// A command longer than the server takes.
    BufferOverflow, "AT0005", "Buffer limit exceeded", true;
    /// Too many connections to other servers.
    OutboundConnectionLimit, "AT0006", "Outbound connection limit exceeded", false;
    /// The directory does not know the other atSign, or there is no way to it.
    SecondaryNotFound, "AT0007", "Secondary server not found", false;
    /// Another server refused who we are.
    Handshake, "AT0008", "Handshake failure", false;
    /// Who asks is known and may not.
    Unauthorized, "AT0009", "UnAuthorized client in request", false;
    /// Something went wrong that the client cannot help.
    InternalServerError, "AT0010", "Internal server error", false;
    /// Whatever has no code of its own.
    InternalServerException, "AT0011", "Internal server exception", false;
    /// No slot left for another connection.
    InboundConnectionLimit, "AT0012", "Inbound connection limit exceeded", true;
    /// The owner blocked who asks.
    BlockedConnection, "AT0013", "Connection Exception", true;
    /// There is no such key.
    KeyNotFound, "AT0015", "key not found", false;
    /// No key may have that name.
    InvalidAtKey, "AT0016", "Invalid key", false;
    /// The other server does not answer.
    SecondaryConnect, "AT0021", "Unable to connect to secondary", false;
    /// The command is right, what it asks for is not.
    IllegalArgument, "AT0022", "Illegal arguments", false;
    /// The other server took too long.
    Timeout, "AT0023", "Timeout waiting for response", false;
    /// The server is going down.
    ServerIsPaused, "AT0024", "Server is paused", true;
    /// The enrollment was denied.
    EnrollmentDenied, "AT0025", "Apkam Auth Denied", false;
    /// The enrollment is not approved yet.
    EnrollmentPending, "AT0026", "Apkam Auth Failed", false;
    /// The enrollment was revoked.
    EnrollmentRevoked, "AT0027", "Apkam Access Revoked", false;
    /// The enrollment is unknown or has ended.
    EnrollmentExpired, "AT0028", "Too Many Requests", false;
    /// A client wants to revoke the enrollment that it is connected by.
    RevokeOwnEnrollment, "AT0031", "Cannot revoke self enrollment", false;
    /// The record may not change.
    IllegalState, "AT0032", "Illegal state", false;
    /// The client did not prove who it is.
    Unauthenticated, "AT0401", "Client authentication failed", false;
}

/// An error as a verb raises it; how it is written depends on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtError {
    code: ErrorCode,
    message: String,
    /// Written `error:CODE:message` on every connection: the errors that name the state of an enrollment.
    bare: bool,
    closes: bool,
}

/// What the writing of an error depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorStyle {
    /// The owner is told the standard description, others only the message.
    pub owner: bool,
    /// The client announced that it reads JSON (reference page section 1.4).
    pub json: bool,
}

impl AtError {
    /// An error with the message that its exception has in the reference server.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), bare: false, closes: code.closes() }
    }

    /// A verb that does not exist, or a line that is no command at all.
    pub fn invalid_command() -> Self {
        Self::new(ErrorCode::InvalidSyntax, "invalid command")
    }

    /// A verb that exists, used wrongly.
    pub fn syntax(why: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidSyntax, format!("invalid command: {why}"))
    }

    /// A key that does not exist.
    pub fn key_not_found(key: &str) -> Self {
        Self::new(
            ErrorCode::KeyNotFound,
            format!("{} does not exist in keystore", crate::key::Shortened(key)),
        )
    }

    /// A verb that is for the owner alone.
    pub fn unauthenticated() -> Self {
        Self::new(ErrorCode::Unauthenticated, "Command cannot be executed without auth")
    }

    /// An enrollment whose namespaces do not cover a key.
    pub fn not_authorized(enrollment_id: &str, verb: &str, key: &str) -> Self {
        let key = crate::key::Shortened(key);
        Self::new(
            ErrorCode::Unauthorized,
            format!("Connection with enrollment ID {enrollment_id} is not authorized to {verb} key: {key}"),
        )
    }

    /// An enrollment that does not exist (any more).
    pub fn enrollment_expired(enrollment_id: &str) -> Self {
        Self::enrollment_state(ErrorCode::EnrollmentExpired, enrollment_id, "expired or invalid")
    }

    /// An enrollment in a state in which its clients cannot log in.
    pub(crate) fn enrollment_state(code: ErrorCode, enrollment_id: &str, state: &str) -> Self {
        Self { bare: true, ..Self::new(code, format!("enrollment_id: {enrollment_id} is {state}")) }
    }

    /// Something about enrollments that is against their rules.
    pub fn enrollment(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InternalServerException, message)
    }

    /// The same error, with the connection closed after it.
    #[must_use]
    pub fn and_close(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The same error, with the connection left open after it.
    #[must_use]
    pub fn and_stay(self) -> Self {
        Self { closes: false, ..self }
    }

    /// Whether it tells the state of an enrollment: the prompt behind it is the one of a success.
    pub fn is_of_enrollment_state(&self) -> bool {
        self.bare
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Its message, without code and description.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the connection is closed after it.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// The line, without line feed and prompt.
    pub fn line(&self, style: ErrorStyle) -> String {
        let (code, message) = (self.code.code(), &self.message);
        if self.bare {
            return format!("error:{code}:{message}");
        }
        let text = if style.owner {
            format!("{} : {message}", self.code.description())
        } else {
            format!("Exception: {message}")
        };
        if style.json {
            let json = JsonError { error_code: code, error_description: &text };
            // Two strings always serialise.
            return format!("error:{}", serde_json::to_string(&json).unwrap_or_default());
        }
        format!("error:{code}-{text}")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonError<'a> {
    error_code: &'a str,
    error_description: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: ErrorStyle = ErrorStyle { owner: true, json: false };
    const STRANGER: ErrorStyle = ErrorStyle { owner: false, json: false };

    #[test]
    fn the_owner_reads_the_description_and_a_stranger_only_the_message() {
        let missing = AtError::key_not_found("phone@alice");
        assert_eq!(
            missing.line(OWNER),
            "error:AT0015-key not found : phone@alice does not exist in keystore"
        );
        assert_eq!(
            AtError::unauthenticated().line(STRANGER),
            "error:AT0401-Exception: Command cannot be executed without auth"
        );
        assert_eq!(AtError::invalid_command().line(STRANGER), "error:AT0003-Exception: invalid command");
    }

    #[test]
    fn a_client_that_asked_for_json_gets_the_same_text_in_json() {
        let missing = AtError::key_not_found("a\"b@alice");
        assert_eq!(
            missing.line(ErrorStyle { owner: true, json: true }),
            r#"error:{"errorCode":"AT0015","errorDescription":"key not found : a\"b@alice does not exist in keystore"}"#
        );
    }

    #[test]
    fn the_state_of_an_enrollment_is_always_written_with_a_colon() {
        for style in [OWNER, STRANGER, ErrorStyle { owner: false, json: true }] {
            assert_eq!(
                AtError::enrollment_expired("42").line(style),
                "error:AT0028:enrollment_id: 42 is expired or invalid"
            );
        }
    }

    #[test]
    fn a_syntax_error_keeps_the_connection_and_a_lost_store_does_not() {
        assert!(!AtError::invalid_command().closes());
        assert!(!AtError::unauthenticated().closes());
        assert!(AtError::new(ErrorCode::DataStore, "").closes());
        assert!(AtError::new(ErrorCode::BufferOverflow, "").closes());
        assert!(AtError::new(ErrorCode::InternalServerException, "").and_close().closes());
        assert!(!AtError::new(ErrorCode::BufferOverflow, "").and_stay().closes());
    }

    #[test]
    fn no_code_stands_twice_in_the_table() {
        for (index, one) in ErrorCode::ALL.iter().enumerate() {
            assert!(ErrorCode::ALL[index + 1..].iter().all(|other| other.code() != one.code()), "{one:?}");
        }
    }
}
