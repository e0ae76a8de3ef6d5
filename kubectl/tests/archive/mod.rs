//! What is in an archive that `report` wrote.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Every file of an archive, by its name below the archive's one folder.
pub(crate) fn unpack(archive: &Path) -> Result<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(archive)?));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().skip(1).collect();
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        files.insert(path.display().to_string(), text);
    }
    Ok(files)
}
