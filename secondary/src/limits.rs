//! `limits.json`: what the operator may change while the server runs, in a directory that it mounts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

/// The file is never larger.
const MAX_FILE: u64 = 64 * 1024;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Connections at a time; absent: what the server was started with.
    pub connections: Option<usize>,
    /// Keys that may be stored.
    pub keys: Option<u64>,
    /// Bytes that one value may have.
    pub value_bytes: Option<u64>,
    /// Bytes that the whole store may have.
    pub storage_bytes: Option<u64>,
    /// Notifications that may be sent in a day, from midnight to midnight UTC.
    pub notifications_per_day: Option<u64>,
    /// Holders of the store that are dead for certain: UIDs of pods.
    pub dead_holders: Vec<String>,
}

impl Limits {
    /// Reads the file of a directory. A directory without it limits nothing.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let file = match File::open(directory.join("limits.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file?,
        };
        let mut json = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut json)?;
        Ok(Self::parse(&json)?)
    }

    /// Reads the file's content.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_may_be_missing_and_so_may_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Limits::read(folder.path()).expect("no file"), Limits::default());
        for (json, limits) in [
            ("{}", Limits::default()),
            (r#"{"connections": 5, "later": 1}"#, Limits { connections: Some(5), ..Limits::default() }),
            (
                r#"{"keys": 1, "valueBytes": 2, "storageBytes": 3, "notificationsPerDay": 4}"#,
                Limits {
                    keys: Some(1),
                    value_bytes: Some(2),
                    storage_bytes: Some(3),
                    notifications_per_day: Some(4),
                    ..Limits::default()
                },
            ),
            (r#"{"deadHolders": ["u"]}"#, Limits { dead_holders: vec!["u".to_owned()], ..Limits::default() }),
        ] {
            std::fs::write(folder.path().join("limits.json"), json).expect("write");
            assert_eq!(Limits::read(folder.path()).expect("read"), limits, "{json}");
        }
        std::fs::write(folder.path().join("limits.json"), "half a fi").expect("write");
        assert!(Limits::read(folder.path()).is_err());
    }
}
