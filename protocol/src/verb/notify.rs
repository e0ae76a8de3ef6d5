//! `notify…:<recipient>:<key>[:<value>]` and `notify:all` (reference page sections 2.12 and 2.13).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::at_sign::AtSign;
use crate::change::{Field, MetadataChange};
use crate::error::{AtError, ErrorCode};
use crate::fragment::Fragment;
use crate::key::{AtKey, Visibility, at_sign, strip_tag};
use crate::metadata::Metadata;

/// The most characters of an id, which a client may choose.
const MAX_ID: usize = 128;

/// What a notification says was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotifyOperation {
    /// A key has a value.
    #[default]
    Update,
    /// A key is gone.
    Delete,
}

/// What a notification carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageType {
    /// A key, perhaps with its value.
    #[default]
    Key,
    /// A text.
    Text,
}

/// How urgent a notification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Not at all.
    #[default]
    Low,
    /// A little.
    Medium,
    /// Very.
    High,
}

/// Which notifications of one notifier still matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Every one.
    #[default]
    All,
    /// The newest ones.
    Latest,
}

/// Tells an atSign something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The id that the sender chose.
    pub id: Option<String>,
    /// What was done.
    pub operation: NotifyOperation,
    /// What it carries.
    pub message_type: MessageType,
    /// How urgent it is.
    pub priority: Priority,
    /// Which of several matter.
    pub strategy: Strategy,
    /// With [`Strategy::Latest`]: how many.
    pub latest: u32,
    /// The application that tells it.
    pub notifier: Option<String>,
    /// How long it is worth delivering, milliseconds.
    pub ttln: Option<i64>,
    /// The metadata of the value.
    pub metadata: MetadataChange,
    /// For whom; `None` for a public key.
    pub recipient: Option<AtSign>,
    /// The key's name, or the text.
    pub name: String,
    /// Whose key it is, where that was said.
    pub owner: Option<AtSign>,
    /// The value.
    pub value: Option<String>,
}

/// Tells several atSigns the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyAll {
    /// For whom.
    pub recipients: Vec<AtSign>,
    /// What, without a recipient.
    pub notify: Notify,
}

impl NotifyOperation {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl MessageType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Text => "text",
        }
    }
}

impl Priority {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Strategy {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
        }
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            id: None,
            operation: NotifyOperation::Update,
            message_type: MessageType::Key,
            priority: Priority::Low,
            strategy: Strategy::All,
            latest: 1,
            notifier: None,
            ttln: None,
            metadata: MetadataChange::default(),
            recipient: None,
            name: String::new(),
            owner: None,
            value: None,
        }
    }
}

impl Notify {
    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (mut notify, rest) = Self::options(text)?;
        let rest = if let Some(rest) = strip_tag(rest, "public") {
            rest
        } else {
            let (recipient, rest) = rest
                .strip_prefix('@')
                .and_then(|rest| rest.split_once(':'))
                .ok_or_else(|| AtError::syntax("a notification is for an atSign or for public"))?;
            notify.recipient = Some(at_sign(recipient)?);
            rest
        };
        notify.subject(rest)?;
        Ok(notify)
    }

    /// Reads the fields, in any order, and returns what follows them.
    fn options(text: &str) -> Result<(Self, &str), AtError> {
        let mut notify = Self::default();
        let mut fragment = Fragment::default();
        let mut rest = text;
        while let Some((tag, after)) = rest.split_once(':') {
            let (value, behind) = after.split_once(':').unwrap_or((after, ""));
            match tag.to_ascii_lowercase().as_str() {
                "update" => {
                    notify.operation = NotifyOperation::Update;
                    rest = after;
                    continue;
                }
                "delete" => {
                    notify.operation = NotifyOperation::Delete;
                    rest = after;
                    continue;
                }
                "id" => notify.id = Some(id(value)?.to_owned()),
                // The C SDK writes an underscore.
                "messagetype" | "message_type" => {
                    notify.message_type =
                        choice(value, [MessageType::Key, MessageType::Text], MessageType::as_str)?;
                }
                "priority" => {
                    let all = [Priority::Low, Priority::Medium, Priority::High];
                    notify.priority = choice(value, all, Priority::as_str)?;
                }
                "strategy" => {
                    notify.strategy = choice(value, [Strategy::All, Strategy::Latest], Strategy::as_str)?;
                }
                "latestn" => {
                    notify.latest = value
                        .parse()
                        .ok()
                        .filter(|count| *count > 0)
                        .ok_or_else(|| AtError::syntax("latestN is no number from 1"))?;
                }
                "notifier" => {
                    if value.is_empty() || value.len() > MAX_ID || value.contains(char::is_whitespace) {
                        return Err(AtError::syntax("notifier has no valid value"));
                    }
                    notify.notifier = Some(value.to_owned());
                }
                "ttln" => {
                    let millis = value.parse().ok().filter(|millis| *millis >= 0);
                    notify.ttln = Some(millis.ok_or_else(|| AtError::syntax("ttln is no number"))?);
                }
                _ if Fragment::is_tag(tag) => {
                    rest = fragment
                        .read(tag, after)?
                        .ok_or_else(|| AtError::syntax("no recipient after the metadata"))?;
                    continue;
                }
                _ => break,
            }
            rest = behind;
        }
        if notify.strategy == Strategy::Latest && notify.notifier.is_none() {
            return Err(AtError::syntax("strategy latest needs a notifier"));
        }
        notify.metadata = fragment.finish_as_given()?;
        Ok((notify, rest))
    }

    /// Reads `<key>[@owner][:<value>]`.
    fn subject(&mut self, text: &str) -> Result<(), AtError> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let (name, owner) = match name.rsplit_once('@') {
            Some((name, owner)) if self.message_type == MessageType::Key => (name, Some(at_sign(owner)?)),
            Some((name, _)) => (name, None),
            None => (name, None),
        };
        if name.is_empty() {
            return Err(AtError::syntax("the notification has no key"));
        }
        self.value = value.filter(|value| !value.is_empty()).map(str::to_owned);
        if self.message_type == MessageType::Key {
            // The characters of a key, whoever owns it.
            let any = AtSign::parse("any").map_err(|_| AtError::invalid_command())?;
            self.name = AtKey::new(false, Visibility::Own, name, any)?.entity;
        } else {
            name.clone_into(&mut self.name);
        }
        self.owner = owner;
        // A public key is readable anyhow; so is a text, unless the client says that it is not.
        if self.metadata.is_encrypted == Field::Keep {
            let encrypted = self.message_type == MessageType::Key && self.recipient.is_some();
            self.metadata.is_encrypted = Field::Set(encrypted);
        }
        Ok(())
    }

    /// Whom the notification is about: the key it names, of an owner.
    pub fn key(&self, owner: AtSign) -> Result<AtKey, AtError> {
        let visibility = self.recipient.clone().map_or(Visibility::Public, Visibility::SharedWith);
        AtKey::new(false, visibility, &self.name, owner)
    }
}

impl NotifyAll {
    /// The most recipients of one command.
    const MOST: usize = 100;

    pub(super) fn parse(text: &str) -> Result<Self, AtError> {
        let (mut notify, rest) = Notify::options(text)?;
        let (names, rest) =
            rest.split_once(':').ok_or_else(|| AtError::syntax("notify:all needs recipients and a key"))?;
        let mut recipients = Vec::new();
        for name in names.split(',') {
            let recipient = at_sign(name)?;
            if !recipients.contains(&recipient) {
                recipients.push(recipient);
            }
            if recipients.len() > Self::MOST {
                return Err(AtError::new(ErrorCode::IllegalArgument, "notify:all has too many recipients"));
            }
        }
        // So that the flag of encryption is that of a shared key.
        notify.recipient = recipients.first().cloned();
        notify.subject(rest)?;
        Ok(Self { recipients, notify })
    }
}

/// What one server tells another, as it is written on the wire.
#[derive(Clone, Copy, Debug)]
pub struct NotifyLine<'a> {
    /// The id.
    pub id: &'a str,
    /// What was done.
    pub operation: NotifyOperation,
    /// What it carries.
    pub message_type: MessageType,
    /// The application that tells it.
    pub notifier: &'a str,
    /// How much longer it is worth delivering, milliseconds.
    pub ttln: i64,
    /// The metadata of the value.
    pub metadata: &'a Metadata,
    /// The key or the text, with who it is for in front.
    pub key: &'a str,
    /// The value.
    pub value: Option<&'a str>,
}

impl NotifyLine<'_> {
    /// The command, without its line feed, in the one order that the reference server takes.
    pub fn command(&self) -> String {
        let metadata = self.metadata;
        let mut line = format!(
            "notify:id:{}:{}:messageType:{}:notifier:{}:ttln:{}",
            self.id,
            self.operation.as_str(),
            self.message_type.as_str(),
            self.notifier,
            self.ttln
        );
        // Writing to a String does not fail.
        let mut put = |tag: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(line, ":{tag}:{value}");
            }
        };
        put("ttl", metadata.ttl.map(|ttl| ttl.to_string()));
        put("ttb", metadata.ttb.map(|ttb| ttb.to_string()));
        if let Some(ttr) = metadata.ttr {
            put("ttr", Some(ttr.to_string()));
            put("ccd", Some(metadata.ccd.unwrap_or(false).to_string()));
        }
        put("isEncrypted", Some(metadata.is_encrypted.unwrap_or(false).to_string()));
        put("sharedKeyEnc", metadata.shared_key_enc.clone());
        put("pubKeyCS", metadata.pub_key_cs.clone());
        if let Some(hash) = &metadata.pub_key_hash {
            put("pubKeyHash", Some(hash.hash.clone()));
            put("hashingAlgo", Some(hash.algo.clone()));
        }
        put("encKeyName", metadata.enc_key_name.clone());
        put("encAlgo", metadata.enc_algo.clone());
        put("ivNonce", metadata.iv_nonce.clone());
        put("skeEncKeyName", metadata.ske_enc_key_name.clone());
        put("skeEncAlgo", metadata.ske_enc_algo.clone());
        line.push(':');
        line.push_str(self.key);
        if let Some(value) = self.value {
            line.push(':');
            line.push_str(value);
        }
        line
    }
}

/// An id: letters, digits, dashes and underscores.
pub(super) fn id(text: &str) -> Result<&str, AtError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > MAX_ID || !text.chars().all(valid) {
        return Err(AtError::syntax("the id of a notification has letters, digits, - and _"));
    }
    Ok(text)
}

fn choice<T: Copy, const N: usize>(
    text: &str,
    all: [T; N],
    name: impl Fn(T) -> &'static str,
) -> Result<T, AtError> {
    all.into_iter()
        .find(|one| name(*one).eq_ignore_ascii_case(text))
        .ok_or_else(|| AtError::syntax(format!("{} is not known here", crate::key::Shortened(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(text: &str) -> Notify {
        Notify::parse(text).expect(text)
    }

    #[test]
    fn what_the_sdks_send_is_read() {
        let python = notify("id:a-b_1:update:isEncrypted:True:ivNonce:q1==:@bob:test.wavi@alice:c2VjcmV0");
        assert_eq!(python.id.as_deref(), Some("a-b_1"));
        assert_eq!((python.name.as_str(), python.value.as_deref()), ("test.wavi", Some("c2VjcmV0")));
        assert_eq!(python.metadata.iv_nonce, Field::Set("q1==".into()));
        let java = notify("update:messageType:key:ttr:1000:@bob:k@alice:a:b c");
        assert_eq!((java.metadata.ttr, java.value.as_deref()), (Field::Set(1000), Some("a:b c")));
        assert_eq!(java.metadata.is_encrypted, Field::Set(true));
        let text = notify("messageType:text:@bob:Hello World!");
        assert_eq!((text.message_type, text.name.as_str()), (MessageType::Text, "Hello World!"));
        assert_eq!(text.metadata.is_encrypted, Field::Set(false));
        assert_eq!(notify("message_type:text:@bob:hi@there").name, "hi");
        assert_eq!(notify("ttl:5:ttln:7:ttb:6:@bob:k@alice").ttln, Some(7));
        assert_eq!(notify("public:k@alice:1").metadata.is_encrypted, Field::Set(false));
        let latest = notify("delete:priority:high:strategy:latest:latestN:3:notifier:wavi:@bob:k@alice");
        assert_eq!((latest.operation, latest.latest), (NotifyOperation::Delete, 3));
    }

    #[test]
    fn what_is_no_notification_is_refused() {
        for text in [
            "",
            "update",
            "k@alice",
            "@bob",
            "@bob:",
            "@bob:@alice",
            "id::@bob:k@alice",
            "id:a b:@bob:k@alice",
            "priority:urgent:@bob:k@alice",
            "strategy:latest:@bob:k@alice",
            "strategy:some:@bob:k@alice",
            "latestN:0:@bob:k@alice",
            "messageType:song:@bob:k@alice",
            "ttln:-1:@bob:k@alice",
            "ttr:-2:@bob:k@alice",
            "@bob:a b@alice",
        ] {
            assert!(Notify::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn several_recipients_may_be_named_with_or_without_their_at() {
        let all =
            NotifyAll::parse("update:messageType:key:ttr:-1:@bob,colin,@bob:k@alice:1").expect("a notify");
        let names: Vec<_> = all.recipients.iter().map(AtSign::as_str).collect();
        assert_eq!((names, all.notify.value.as_deref()), (vec!["@bob", "@colin"], Some("1")));
    }

    #[test]
    fn what_a_server_writes_another_reads() {
        let metadata = Metadata {
            ttr: Some(-1),
            ccd: Some(true),
            is_encrypted: Some(true),
            iv_nonce: Some("n".into()),
            ..Metadata::default()
        };
        let line = NotifyLine {
            id: "1",
            operation: NotifyOperation::Update,
            message_type: MessageType::Key,
            notifier: "SYSTEM",
            ttln: 900,
            metadata: &metadata,
            key: "@bob:k.wavi@alice",
            value: Some("v:1"),
        };
        let command = line.command();
        assert_eq!(
            command,
            "notify:id:1:update:messageType:key:notifier:SYSTEM:ttln:900:ttr:-1:ccd:true:isEncrypted:true:\
             ivNonce:n:@bob:k.wavi@alice:v:1"
        );
        let read = notify(command.strip_prefix("notify:").expect("the verb"));
        assert_eq!((read.ttln, read.value.as_deref()), (Some(900), Some("v:1")));
        assert_eq!(read.metadata.ccd, Field::Set(true));
    }
}
