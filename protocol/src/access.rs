//! What an enrollment lets its clients read and write: the namespaces of APKAM (reference page section 2.21).
//!
//! [`Access::allows`] alone decides it, for every verb.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::{AtKey, Visibility};

/// The namespace of those who approve enrollments.
pub const MANAGE: &str = "__manage";
/// Every namespace that is not reserved.
pub const EVERY: &str = "*";
/// What the server itself tells; every enrollment reads it.
const AT_SERVER: &str = "__atserver";
/// Names that begin so are reserved: `*` does not cover them.
const RESERVED: &str = "__";

/// What is allowed in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permission {
    /// `r`.
    #[serde(rename = "r")]
    Read,
    /// `rw`.
    #[serde(rename = "rw")]
    ReadWrite,
}

/// What a client is about to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// lookup, llookup, scan, sync, monitor.
    Read,
    /// update, delete, notify.
    Write,
}

impl Intent {
    fn needs(self) -> Permission {
        match self {
            Self::Read => Permission::Read,
            Self::Write => Permission::ReadWrite,
        }
    }
}

/// Namespaces by name, each with what is allowed in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Namespaces(pub BTreeMap<String, Permission>);

/// An approved enrollment, as far as its clients' rights go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The enrollment.
    pub enrollment_id: String,
    /// Where it may read and write.
    pub namespaces: Namespaces,
}

impl Namespaces {
    /// Whether all of the atSign is theirs: all namespaces, and the approval of other enrollments.
    pub fn are_root(&self) -> bool {
        self.0.get(EVERY) == Some(&Permission::ReadWrite) && self.0.contains_key(MANAGE)
    }

    /// Whether they let a client decide about enrollments and make passcodes.
    pub fn manage(&self) -> bool {
        self.0.get(MANAGE) == Some(&Permission::ReadWrite)
    }

    /// The most that is allowed in the namespace `name`. A dotted one is covered by its own end: `contacts.buzz` by
    /// `buzz`.
    pub fn permission(&self, name: &str) -> Option<Permission> {
        let every = self.0.get(EVERY).filter(|_| name == EVERY || !last_segment(name).starts_with(RESERVED));
        let named = self.0.iter().filter(|(enrolled, _)| ends_with_segment(name, enrolled));
        named.map(|(_, permission)| permission).chain(every).max().copied()
    }

    /// Whether these hold all that `requested` asks for.
    pub fn cover(&self, requested: &Self) -> bool {
        requested.0.iter().all(|(name, permission)| self.permission(name) >= Some(*permission))
    }
}

impl Access {
    /// Whether a client of this enrollment may do something with a key, by the name that it is stored by.
    pub fn allows(&self, intent: Intent, key: &str) -> bool {
        let root = self.namespaces.are_root();
        // `privatekey:` names have no owner; they are the server's, and what onboarding writes.
        let Ok(key) = AtKey::parse(key) else { return root };
        let entity = key.entity.as_str();
        let reads = intent == Intent::Read;
        if matches!(key.visibility, Visibility::Private | Visibility::Local) {
            return root;
        }
        if key.visibility == Visibility::Public && reads {
            return true;
        }
        if is_shared_key(&key) {
            return true;
        }
        if key.is_protected() {
            return root;
        }
        match last_segment(entity) {
            // Enrollments are for `enroll` alone, and so is what their approval left behind.
            MANAGE => false,
            AT_SERVER => reads,
            "__e" => entity.ends_with(&format!(".{}.a.__e", self.enrollment_id.to_lowercase())),
            _ => self.permission_of(entity) >= Some(intent.needs()),
        }
    }

    /// What is allowed with keys of a name. One without a namespace needs all of them.
    fn permission_of(&self, entity: &str) -> Option<Permission> {
        match entity.split_once('.') {
            None => self.namespaces.0.get(EVERY).copied(),
            // The first segment is the key's own name.
            Some((_, namespace)) => self.namespaces.permission(namespace),
        }
    }
}

/// Keys that clients encrypt for each other with: every enrollment needs them.
fn is_shared_key(key: &AtKey) -> bool {
    match &key.visibility {
        Visibility::SharedWith(_) => key.entity == "shared_key",
        Visibility::Own => key.entity.starts_with("shared_key.") && !key.entity.contains(".__"),
        _ => false,
    }
}

fn last_segment(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// Whether `end` is all of `name` or its last segments.
fn ends_with_segment(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces(text: &str) -> Namespaces {
        let each = text.split_whitespace().map(|each| {
            let (name, permission) = each.split_once(':').expect("name:permission");
            (name.to_owned(), if permission == "rw" { Permission::ReadWrite } else { Permission::Read })
        });
        Namespaces(each.collect())
    }

    #[test]
    fn each_enrollment_reads_and_writes_what_its_namespaces_say() {
        // Enrolled namespaces; key; whether it may read and write it.
        for (enrolled, key, read, write) in [
            ("wavi:rw", "phone.wavi@alice", true, true),
            ("wavi:r", "phone.wavi@alice", true, false),
            ("wavi:rw", "@bob:phone.wavi@alice", true, true),
            ("wavi:rw", "phone.buzz@alice", false, false),
            ("wavi:rw", "phone.xwavi@alice", false, false),
            ("wavi:rw", "wavi@alice", false, false),
            ("wavi:rw", "phone@alice", false, false),
            ("wavi:rw", "cached:@alice:phone.wavi@bob", true, true),
            ("wavi:rw", "cached:@alice:phone.buzz@bob", false, false),
            // Dotted namespaces.
            ("buzz:rw", "x.contacts.buzz@alice", true, true),
            ("contacts.buzz:rw", "x.contacts.buzz@alice", true, true),
            ("contacts.buzz:rw", "x.other.buzz@alice", false, false),
            ("contacts.buzz:rw", "x.buzz@alice", false, false),
            ("contacts.buzz:rw", "contacts.buzz@alice", false, false),
            ("buzz:rw contacts.buzz:r", "x.contacts.buzz@alice", true, true),
            // Public data is everybody's to read.
            ("wavi:r", "public:phone.buzz@alice", true, false),
            ("wavi:r", "public:phone@alice", true, false),
            ("wavi:rw", "public:phone.wavi@alice", true, true),
            ("wavi:r", "cached:public:phone@bob", true, false),
            // All namespaces, but none of the reserved ones.
            ("*:rw", "phone.wavi@alice", true, true),
            ("*:rw", "phone@alice", true, true),
            ("*:r", "phone@alice", true, false),
            ("*:rw", "x.__secret@alice", false, false),
            ("*:rw __secret:r", "x.__secret@alice", true, false),
            ("*:rw", "x.__secret.wavi@alice", true, true),
            // Enrollments themselves are for `enroll`.
            ("*:rw __manage:rw", "1.new.enrollments.__manage@alice", false, false),
            ("wavi:rw __manage:rw", "1.default_enc_private_key.__manage@alice", false, false),
            ("wavi:r", "x.__atserver@alice", true, false),
            ("*:rw __manage:rw", "x.__atserver@alice", true, false),
            ("wavi:r", "x.id-1.a.__e@alice", true, true),
            ("*:rw __manage:rw", "x.id-2.a.__e@alice", false, false),
            // What clients need to share with each other.
            ("wavi:r", "shared_key.bob@alice", true, true),
            ("wavi:r", "@bob:shared_key@alice", true, true),
            ("wavi:r", "cached:@alice:shared_key@bob", true, true),
            ("wavi:rw", "shared_key.x.__manage@alice", false, false),
            // What makes the atSign itself.
            ("wavi:rw", "public:publickey@alice", true, false),
            ("*:rw", "public:publickey@alice", true, false),
            ("*:rw __manage:rw", "public:publickey@alice", true, true),
            ("*:rw", "@alice:signing_privatekey@alice", false, false),
            ("*:rw", "privatekey:at_pkam_publickey", false, false),
            ("*:rw __manage:rw", "privatekey:at_pkam_publickey", true, true),
            ("*:rw", "private:blocklist@alice", false, false),
            ("*:rw __manage:rw", "private:blocklist@alice", true, true),
        ] {
            let access = Access { enrollment_id: "ID-1".into(), namespaces: namespaces(enrolled) };
            assert_eq!(access.allows(Intent::Read, key), read, "{enrolled} reads {key}");
            assert_eq!(access.allows(Intent::Write, key), write, "{enrolled} writes {key}");
        }
    }

    #[test]
    fn nobody_gives_more_than_he_has() {
        for (own, requested, covered) in [
            ("wavi:rw __manage:rw", "wavi:r", true),
            ("wavi:r __manage:rw", "wavi:rw", false),
            ("wavi:rw", "contacts.wavi:rw", true),
            ("contacts.wavi:rw", "wavi:rw", false),
            ("*:rw", "wavi:rw buzz:r", true),
            ("*:rw", "__manage:rw", false),
            ("*:rw __manage:r", "__manage:rw", false),
            ("*:r", "*:rw", false),
            ("wavi:rw", "*:r", false),
            ("*:rw __manage:rw", "*:rw __manage:rw", true),
        ] {
            assert_eq!(namespaces(own).cover(&namespaces(requested)), covered, "{own} gives {requested}");
        }
    }
}
