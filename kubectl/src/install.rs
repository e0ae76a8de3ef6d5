//! `kubectl atsign install-create`: links by which kubectl finds what a plugin manager cannot install.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::output::print;

/// For `--help`.
pub const EXAMPLES: &str = "\
kubectl finds a command below one of its own (`kubectl create atsign`) and completions only by the names of programs, and
krew installs one program under one name. So this links the others to it.

Examples:
  kubectl atsign install-create
  kubectl atsign install-create --dir ~/bin";

/// What kubectl looks for.
const LINKS: [(&str, &str); 2] = [
    ("kubectl-create-atsign", "kubectl create atsign"),
    ("kubectl_complete-atsign", "completion of kubectl atsign in the shell"),
];

/// Where to.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// A folder of your PATH; where it is not given, that of kubectl-atsign itself
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// Makes the links. What is there and is no link of ours stays.
pub fn install(arguments: &Arguments) -> Result<Outcome> {
    let program = program()?;
    let folder = match &arguments.dir {
        Some(folder) => folder.clone(),
        None => program.parent().context("the program is in no folder")?.to_owned(),
    };
    for (name, what) in LINKS {
        let link = folder.join(name);
        if let Some(there) = in_the_way(&link, &program)? {
            bail!("{} is there already ({there}); remove it first", link.display());
        }
        // Beside it and renamed, so that there is never a moment without it.
        let new = folder.join(format!(".{name}.new"));
        let _ = fs::remove_file(&new);
        symlink(&program, &new)
            .and_then(|()| fs::rename(&new, &link))
            .with_context(|| format!("linking {}; choose another folder with --dir", link.display()))?;
        print(&format!("{} -> {}   {what}\n", link.display(), program.display()))?;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|entry| entry == folder) {
        eprintln!("{} is not in your PATH: kubectl finds nothing there yet", folder.display());
    }
    Ok(Outcome::Done)
}

/// This program under the name by which it is found, so that the links outlive the next version of it: with krew the
/// found one is a link itself.
fn program() -> Result<PathBuf> {
    let own = env::current_exe().context("finding this program")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join("kubectl-atsign"))
        .find(|found| found.is_absolute() && fs::canonicalize(found).ok() == fs::canonicalize(&own).ok());
    Ok(found.unwrap_or(own))
}

/// What is at `link`, if it is not ours to replace.
fn in_the_way(link: &Path, program: &Path) -> Result<Option<&'static str>> {
    match fs::symlink_metadata(link) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking at {}", link.display())),
        Ok(found) if !found.is_symlink() => Ok(Some("a program of its own")),
        Ok(_) => {
            let leads_to_us = fs::read_link(link)?.file_name() == program.file_name();
            Ok((!leads_to_us && fs::canonicalize(link).is_ok()).then_some("a link to something else"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_ours_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (program, link) =
            (folder.path().join("kubectl-atsign"), folder.path().join("kubectl-create-atsign"));
        fs::write(&program, "").unwrap();
        assert_eq!(in_the_way(&link, &program).unwrap(), None);
        symlink(&program, &link).unwrap();
        assert_eq!(in_the_way(&link, &program).unwrap(), None);
        fs::remove_file(&link).unwrap();
        symlink("/bin/sh", &link).unwrap();
        assert!(in_the_way(&link, &program).unwrap().is_some());
        fs::remove_file(&link).unwrap();
        fs::write(&link, "").unwrap();
        assert!(in_the_way(&link, &program).unwrap().is_some());
    }
}
