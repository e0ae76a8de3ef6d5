//! The official Python SDK, unmodified and with its certificate checks on, as a user of atSigns of the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Namespace, directory_host, operator_ca, repository};

/// Runs a script of `tests/sdk` with a home of its own, and expects `ok`.
pub fn sdk(script: &str, home: &Path, arguments: &[&str]) -> Result<()> {
    let ca = home.join("ca.crt");
    std::fs::write(&ca, operator_ca()?)?;
    sdk_of(Command::new, &ca, (&directory_host(), "64"), script, home, arguments)
}

/// The same for somebody who starts it as `start` says, trusts other authorities and asks another directory.
pub fn sdk_of(
    start: impl FnOnce(PathBuf) -> Command,
    trusted: &Path,
    (directory, port): (&str, &str),
    script: &str,
    home: &Path,
    arguments: &[&str],
) -> Result<()> {
    let python = PathBuf::from(
        std::env::var("ATSIGN_PYTHON").context("ATSIGN_PYTHON: run this by `cargo xtask test`")?,
    );
    let output = start(python)
        .arg(repository().join("tests/sdk").join(script))
        .args([directory, port])
        .args(arguments)
        .env("SSL_CERT_FILE", trusted)
        .env("HOME", home)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && out.trim_end().ends_with("ok"), "the SDK failed:\n{out}\n{err}");
    Ok(())
}

/// The file that holds the CRAM secret of an atSign.
pub fn secret_file(namespace: &Namespace, name: &str, home: &Path) -> Result<String> {
    let file = home.join(format!("{name}.cram"));
    std::fs::write(&file, namespace.secret(&format!("{name}-activation"), "cram")?)?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}
