//! What a provider sells, on a real cluster: the examples of tiers, applied as they are.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_tests::cluster::{Namespace, Tiers, condition_of, eventually, kubectl, kubectl_with, repository};

#[test]
fn tiers_give_their_size_and_only_to_whom_they_may() -> Result<()> {
    let namespace = Namespace::new("tiers-sold")?;
    let _tiers = Tiers(&["free", "basic", "pro"]);
    namespace.apply_file("examples/tiers.yaml")?;
    namespace.apply(
        "{apiVersion: v1, kind: List, items: [
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: frugal}, spec: {}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: wealthy}, spec: {tier: pro}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: greedy}, spec: {tier: basic, memory: {cap: 1Gi}}},
           {apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: lost}, spec: {tier: platinum}}]}",
    )?;
    let frugal = namespace.wait_for("frugal", "Ready", "True")?;
    assert_eq!(frugal["status"]["tier"], "free");
    let wealthy = namespace.wait_for("wealthy", "Ready", "True")?;
    assert_eq!(wealthy["status"]["tier"], "pro");
    let pod = namespace.pod("wealthy")?;
    let resources = &pod["spec"]["containers"][0]["resources"];
    assert_eq!(
        (&resources["requests"]["memory"], &resources["limits"]["memory"]),
        (&"12Mi".into(), &"12Mi".into())
    );

    for (name, reason) in [("greedy", "OutsideTier"), ("lost", "TierNotFound")] {
        let refused = namespace.wait_for(name, "Stalled", "True")?;
        let stalled = condition_of(&refused, "Stalled").context("a condition")?;
        assert_eq!(stalled["reason"], reason, "{stalled}");
        let objects = namespace.list("deployment", &format!("app.kubernetes.io/instance={name}"))?;
        assert!(objects.is_empty(), "{name} was refused and has a Deployment all the same");
    }
    Ok(())
}

#[test]
fn a_tiers_nfs_export_gives_each_atsign_a_directory_and_takes_it_back() -> Result<()> {
    // The export of the test cluster stands for the provider's; root is squashed on it, uid 65532 may write.
    let export = PathBuf::from(std::env::var("ATSIGN_STATE")?).join("nfs/export/sold");
    std::fs::create_dir_all(&export)?;
    chown(&export, Some(65532), Some(65532))?;
    let directories = || -> Result<usize> { Ok(std::fs::read_dir(&export)?.count()) };

    let namespace = Namespace::new("tiers-nfs")?;
    let _tiers = Tiers(&["nfs"]);
    let example = std::fs::read_to_string(repository().join("examples/nfs-tier.yaml"))?;
    let path = export.to_str().context("a path in UTF-8")?;
    kubectl_with(
        &["apply", "-f", "-"],
        &example.replace("nfs.example.com", "10.11.0.1").replace("/export/atsigns", path),
    )?;
    namespace.apply(
        "{apiVersion: atsign.dev/v1, kind: AtSign, metadata: {name: tenant}, spec: {tier: nfs, deletionPolicy: Delete}}",
    )?;
    namespace.wait_for("tenant", "Ready", "True")?;
    assert_eq!(directories()?, 1);
    let claim = namespace.get("pvc", "tenant")?;
    let volume = claim["spec"]["volumeName"].as_str().context("the claim is bound")?.to_owned();
    let policy = kubectl(&["get", "pv", &volume, "-o", "jsonpath={.spec.persistentVolumeReclaimPolicy}"])?;
    assert_eq!(policy, "Retain");

    namespace.kubectl(&["delete", "atsign", "tenant", "--timeout=120s"])?;
    eventually("nothing is left", Duration::from_mins(2), || {
        ensure!(directories()? == 0, "the directory is left on the export");
        ensure!(!kubectl(&["get", "pv", "-o", "name"])?.contains(&volume), "the volume is left");
        Ok(())
    })
}
