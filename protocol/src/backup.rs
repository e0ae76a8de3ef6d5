//! What a backup says of itself. A backup file is a line of JSON, this manifest, and behind it the store's file: so the
//! server sends it, `kubectl atsign` keeps it, and a restore reads it.

use serde::{Deserialize, Serialize};

/// Form of the manifest.
pub const FORMAT: u32 = 1;

/// A manifest is shorter than this, in bytes.
pub const LONGEST: usize = 16 * 1024;

/// What a backup must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Form of this manifest.
    pub format: u32,
    /// Name of the backup: when it was made.
    pub name: String,
    /// Version of the server that made it.
    pub version: String,
    /// Whose data it is, with its `@`.
    pub at_sign: String,
    /// The epoch that the data was under.
    pub epoch: u64,
    /// The last commit id; -1 for none.
    pub commit_id: i64,
    /// What there is.
    #[serde(flatten)]
    pub counts: Counts,
    /// Bytes of the store's file.
    pub bytes: u64,
    /// SHA-256 of the store's file, hexadecimal.
    pub sha256: String,
}

/// How much there is in a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Keys, those of the server itself included.
    pub keys: u64,
    /// Entries of the commit log.
    pub commits: u64,
    /// Notifications.
    pub notifications: u64,
    /// Enrollments, in whatever state.
    pub enrollments: u64,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// It is none.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A newer version made it.
    #[error("its format is {0}, and this version knows {known} at most", known = FORMAT)]
    Newer(u32),
}

impl Manifest {
    /// When it was made, Unix seconds; 0 where its name does not say so.
    pub fn made_at(&self) -> i64 {
        let (day, time) = self.name.split_at_checked(10).unwrap_or_default();
        let time = format!("{day}{}", time.replace('-', ":")).parse();
        time.map_or(0, jiff::Timestamp::as_second)
    }

    /// Reads the content of one.
    ///
    /// # Errors
    /// It is none, or one of a version that is newer.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidManifest> {
        let manifest: Self = serde_json::from_slice(json)?;
        if manifest.format > FORMAT { Err(InvalidManifest::Newer(manifest.format)) } else { Ok(manifest) }
    }

    /// The first line of a backup file.
    pub fn line(&self) -> String {
        // Texts and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_backup_file_is_one_line_and_reads_as_the_manifest() {
        let manifest =
            Manifest {
                at_sign: "@🛠bob\n".to_owned(), format: FORMAT, commit_id: -1, ..Manifest::default()
            };
        let line = manifest.line();
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        assert_eq!(Manifest::parse(line.as_bytes()).expect("a manifest"), manifest);
    }

    #[test]
    fn a_manifest_of_a_newer_version_is_refused() {
        let newer = Manifest { format: FORMAT + 1, ..Manifest::default() };
        let refused = Manifest::parse(newer.line().as_bytes()).expect_err("newer");
        assert_eq!(refused.to_string(), "its format is 2, and this version knows 1 at most");
    }

    #[test]
    fn a_backups_name_says_when_it_was_made() {
        let manifest = Manifest { name: "2026-11-24T15-04-05.060Z".to_owned(), ..Manifest::default() };
        assert_eq!(manifest.made_at(), 1_795_532_645);
        assert_eq!(Manifest::default().made_at(), 0);
    }
}
