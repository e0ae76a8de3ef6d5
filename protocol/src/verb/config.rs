//! `config:block:(add|remove|show)` and, in testing mode, `config:(set|reset|print)` (reference page section 2.18).

use crate::at_sign::AtSign;
use crate::error::{AtError, ErrorCode};
use crate::key::{at_sign, strip_tag};

/// Changes how the server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// Refuses these atSigns from now on.
    Block(Vec<AtSign>),
    /// Lets them in again.
    Unblock(Vec<AtSign>),
    /// Tells who is blocked.
    ShowBlocked,
    /// Sets a setting, in testing mode.
    Set(Setting, u64),
    /// Gives it its default back.
    Reset(Setting),
    /// Tells it.
    Print(Setting),
}

/// Declares the settings once: variant, name, default, whether it is a number or true or false.
macro_rules! settings {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $default:expr, $flag:literal;)*) => {
        /// What can be set in testing mode.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Setting { $($(#[$doc])* $variant,)* }

        impl Setting {
            /// Every setting.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in commands.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What holds while it is not set; 1 is true.
            pub fn default(self) -> u64 {
                match self { $(Self::$variant => $default,)* }
            }

            fn is_flag(self) -> bool {
                match self { $(Self::$variant => $flag,)* }
            }
        }
    };
}

settings! {
    /// Connections at a time.
    InboundMaxLimit, "inboundMaxLimit", 200, false;
    /// Minutes; this server has nothing to compact.
    CommitLogCompaction, "commitLogCompactionFrequencyMins", 18, false;
    /// Minutes; this server has nothing to compact.
    AccessLogCompaction, "accessLogCompactionFrequencyMins", 15, false;
    /// Minutes; this server has nothing to compact.
    NotificationCompaction, "notificationKeyStoreCompactionFrequencyMins", 5, false;
    /// Whether an update of a shared key notifies its recipient.
    AutoNotify, "autoNotify", 1, true;
    /// How often a notification is tried.
    MaxNotificationRetries, "maxNotificationRetries", 30, false;
    /// Whether to look for new certificates; this server always does.
    CheckCertificateReload, "checkCertificateReload", 0, true;
    /// Whether to load them; this server always does.
    ShouldReloadCertificates, "shouldReloadCertificates", 0, true;
    /// Whether to fetch stale cached keys now.
    DoCacheRefreshNow, "doCacheRefreshNow", 0, true;
    /// Enrollment requests of one connection within the time frame.
    MaxRequestsPerTimeFrame, "maxRequestsPerTimeFrame", 5, false;
    /// That time frame, milliseconds.
    TimeFrameInMillis, "timeFrameInMills", 3_600_000, false;
}

impl Setting {
    /// A value as it is printed.
    pub fn print(self, value: u64) -> String {
        if self.is_flag() { (value != 0).to_string() } else { value.to_string() }
    }

    fn named(text: &str) -> Result<Self, AtError> {
        Self::ALL.iter().copied().find(|setting| setting.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            AtError::new(ErrorCode::InternalServerException, "there is no setting of that name")
        })
    }

    fn value(self, text: &str) -> Result<u64, AtError> {
        let value = if self.is_flag() {
            text.to_ascii_lowercase().parse().ok().map(u64::from as fn(bool) -> u64)
        } else {
            text.parse().ok()
        };
        value.ok_or_else(|| {
            AtError::new(ErrorCode::IllegalArgument, format!("this is no value of {}", self.name()))
        })
    }
}

impl Config {
    /// AtSigns in one command at most.
    const MAX: usize = 1000;

    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        if let Some(rest) = strip_tag(text, "block") {
            return if rest.eq_ignore_ascii_case("show") {
                Ok(Self::ShowBlocked)
            } else if let Some(rest) = strip_tag(rest, "add") {
                Ok(Self::Block(at_signs(rest)?))
            } else if let Some(rest) = strip_tag(rest, "remove") {
                Ok(Self::Unblock(at_signs(rest)?))
            } else {
                Err(AtError::syntax("config:block knows add, remove and show"))
            };
        }
        if let Some(rest) = strip_tag(text, "set") {
            let (name, value) =
                rest.split_once('=').ok_or_else(|| AtError::syntax("config:set needs name=value"))?;
            let setting = Setting::named(name)?;
            return Ok(Self::Set(setting, setting.value(value)?));
        }
        if let Some(name) = strip_tag(text, "reset") {
            return Ok(Self::Reset(Setting::named(name)?));
        }
        if let Some(name) = strip_tag(text, "print") {
            return Ok(Self::Print(Setting::named(name)?));
        }
        Err(AtError::syntax("config knows block, set, reset and print"))
    }
}

/// `@a @b …`, each with its `@`.
fn at_signs(text: &str) -> Result<Vec<AtSign>, AtError> {
    let mut at_signs = Vec::new();
    for name in text.split_whitespace() {
        if at_signs.len() == Config::MAX {
            return Err(AtError::syntax("too many atSigns in one command"));
        }
        if !name.starts_with('@') {
            return Err(AtError::syntax("an atSign begins with @"));
        }
        at_signs.push(at_sign(name)?);
    }
    if at_signs.is_empty() {
        return Err(AtError::syntax("no atSign is named"));
    }
    Ok(at_signs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_more_atsigns_are_blocked() {
        let bob = AtSign::parse("@bob").expect("an atSign");
        let colin = AtSign::parse("@colin").expect("an atSign");
        assert_eq!(Config::parse("block:add:@Bob @colin"), Ok(Config::Block(vec![bob.clone(), colin])));
        assert_eq!(Config::parse("BLOCK:remove:@bob"), Ok(Config::Unblock(vec![bob])));
        assert_eq!(Config::parse("block:show"), Ok(Config::ShowBlocked));
    }

    #[test]
    fn settings_are_known_by_name_and_kind() {
        assert_eq!(Config::parse("set:inboundMaxLimit=5"), Ok(Config::Set(Setting::InboundMaxLimit, 5)));
        assert_eq!(Config::parse("set:autonotify=False"), Ok(Config::Set(Setting::AutoNotify, 0)));
        assert_eq!(Config::parse("reset:autoNotify"), Ok(Config::Reset(Setting::AutoNotify)));
        assert_eq!(Config::parse("print:autoNotify"), Ok(Config::Print(Setting::AutoNotify)));
        assert_eq!(Setting::AutoNotify.print(1), "true");
        assert_eq!(Setting::TimeFrameInMillis.print(1), "1");
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for (text, code) in [
            ("block:add:", ErrorCode::InvalidSyntax),
            ("block:add:@@kevin", ErrorCode::InvalidSyntax),
            ("block:add:bob", ErrorCode::InvalidSyntax),
            ("block:add", ErrorCode::InvalidSyntax),
            ("block:list", ErrorCode::InvalidSyntax),
            ("allow:add:@bob", ErrorCode::InvalidSyntax),
            ("set:autoNotify", ErrorCode::InvalidSyntax),
            ("set:autoNotify=5", ErrorCode::IllegalArgument),
            ("set:inboundMaxLimit=many", ErrorCode::IllegalArgument),
            ("set:nothing=5", ErrorCode::InternalServerException),
            ("print:nothing", ErrorCode::InternalServerException),
        ] {
            assert_eq!(Config::parse(text).map_err(|error| error.code()), Err(code), "{text}");
        }
    }
}
