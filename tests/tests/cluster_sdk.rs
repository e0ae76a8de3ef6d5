//! The official Python SDK, unmodified and with its certificate checks on, against an atSign of the cluster.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::cluster::{Namespace, directory_host, operator_ca, repository};

#[test]
fn the_python_sdk_onboards_alice_and_uses_public_and_self_keys() -> Result<()> {
    let python = PathBuf::from(
        std::env::var("ATSIGN_PYTHON").context("ATSIGN_PYTHON: run this by `cargo xtask test`")?,
    );
    let namespace = Namespace::new("sdk")?;
    namespace.apply_file("examples/alice.yaml")?;
    namespace.wait_for("alice", "Ready", "True")?;

    let home = tempfile::tempdir()?;
    let (ca, secret) = (home.path().join("ca.crt"), home.path().join("cram"));
    std::fs::write(&ca, operator_ca()?)?;
    std::fs::write(&secret, namespace.secret("alice-activation", "cram")?)?;
    let output = Command::new(python)
        .arg(repository().join("tests/sdk/onboard.py"))
        .args([directory_host().as_str(), "64", "@alice"])
        .arg(&secret)
        .env("SSL_CERT_FILE", &ca)
        .env("HOME", home.path())
        .output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && out.trim_end().ends_with("ok"), "the SDK failed:\n{out}\n{err}");
    assert!(home.path().join(".atsign/keys/@alice_key.atKeys").exists());
    Ok(())
}
