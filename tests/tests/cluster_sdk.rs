//! The official Python SDK, unmodified and with its certificate checks on, against an atSign of the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::cluster::{Namespace, directory_host, operator_ca, repository};

/// Runs a script of `tests/sdk` with a home of its own, and expects `ok`.
fn sdk(script: &str, home: &Path, arguments: &[&str]) -> Result<()> {
    let python = PathBuf::from(
        std::env::var("ATSIGN_PYTHON").context("ATSIGN_PYTHON: run this by `cargo xtask test`")?,
    );
    let ca = home.join("ca.crt");
    std::fs::write(&ca, operator_ca()?)?;
    let output = Command::new(python)
        .arg(repository().join("tests/sdk").join(script))
        .args([directory_host().as_str(), "64"])
        .args(arguments)
        .env("SSL_CERT_FILE", &ca)
        .env("HOME", home)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && out.trim_end().ends_with("ok"), "the SDK failed:\n{out}\n{err}");
    Ok(())
}

/// The file that holds the CRAM secret of an atSign.
fn secret_file(namespace: &Namespace, name: &str, home: &Path) -> Result<String> {
    let file = home.join(format!("{name}.cram"));
    std::fs::write(&file, namespace.secret(&format!("{name}-activation"), "cram")?)?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}

#[test]
fn the_python_sdk_onboards_alice_and_uses_public_and_self_keys() -> Result<()> {
    let namespace = Namespace::new("sdk")?;
    namespace.apply_file("examples/alice.yaml")?;
    namespace.wait_for("alice", "Ready", "True")?;
    let home = tempfile::tempdir()?;
    let secret = secret_file(&namespace, "alice", home.path())?;
    sdk("onboard.py", home.path(), &["@alice", &secret])?;
    assert!(home.path().join(".atsign/keys/@alice_key.atKeys").exists());
    Ok(())
}

#[test]
fn two_atsigns_share_notify_and_monitor_each_other() -> Result<()> {
    let namespace = Namespace::new("sdk-two")?;
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: romeo}, spec: {}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: juliet}, spec: {}}]}",
    )?;
    let home = tempfile::tempdir()?;
    let mut secrets = Vec::new();
    for name in ["romeo", "juliet"] {
        namespace.wait_for(name, "Ready", "True")?;
        secrets.push(secret_file(&namespace, name, home.path())?);
    }
    sdk("share.py", home.path(), &["@romeo", &secrets[0], "@juliet", &secrets[1]])?;
    for name in ["romeo", "juliet"] {
        let pod = namespace.pod(name)?;
        assert_eq!(
            pod["status"]["containerStatuses"][0]["restartCount"], 0,
            "{name} lived through it in 6Mi"
        );
    }
    Ok(())
}
