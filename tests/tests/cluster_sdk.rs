//! The official Python SDK, unmodified and with its certificate checks on, against an atSign of the cluster.

use anyhow::Result;
use atsign_tests::cluster::Namespace;
use atsign_tests::cluster::sdk::{sdk, secret_file};

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
