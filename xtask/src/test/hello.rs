//! The cluster's own checks: names are looked up, and a pod writes to an NFS claim.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cluster::{self, Cluster, node};
use crate::image::{Entry, Image};
use crate::progress::{step, wait_until};

const PROGRAM: &str = include_str!("../../cluster/hello/hello.c");
const MANIFEST: &str = include_str!("../../cluster/manifests/hello.yaml");

/// The name of a Service is an address inside the cluster's network.
///
/// # Errors
/// The cluster's DNS does not know it, or says something else than the API server.
pub(super) fn a_service_has_a_name(cluster: &Cluster) -> Result<()> {
    let looked_up = cluster::inside(cluster, "getent").args(["hosts", "kubernetes.default.svc"]).output()?;
    let answer = String::from_utf8_lossy(&looked_up.stdout).into_owned();
    let path = "jsonpath={.spec.clusterIP}";
    let asked = cluster::kubectl(cluster).args(["get", "service", "kubernetes", "-o", path]).output()?;
    let address = String::from_utf8_lossy(&asked.stdout).into_owned();
    ensure!(answer.split_whitespace().next() == Some(&address), "{address:?} was looked up as {answer:?}");
    Ok(())
}

/// A pod of 6Mi, restricted and not root, writes to a claim of the default StorageClass.
///
/// # Errors
/// It does not, or what it wrote is not on the NFS server.
pub(super) fn a_pod_writes_to_an_nfs_claim(cluster: &Cluster) -> Result<()> {
    step("hello", "a pod of 6Mi writes to an NFS claim", || {
        import(cluster)?;
        cluster::apply(cluster, MANIFEST)?;
        let look_at = "`cargo xtask kubectl --name atsign-test -n hello describe pods,pvc`";
        wait_until("the pod hello has written", Duration::from_mins(1), look_at, || {
            match get(cluster, "pod", "{.status.phase}")?.as_str() {
                "Succeeded" => Ok(true),
                "Failed" => bail!("the pod hello failed: {}", get(cluster, "pod", "{.status}")?),
                _ => Ok(false),
            }
        })?;
        let volume = get(cluster, "pvc", "{.spec.volumeName}")?;
        let path = "jsonpath={.spec.nfs.path}";
        let asked = cluster::kubectl(cluster).args(["get", "pv", &volume, "-o", path]).output()?;
        let folder = String::from_utf8_lossy(&asked.stdout).into_owned();
        let file = std::path::Path::new(&folder).join("hello");
        let written = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        ensure!(written == "hello\n", "{} holds {written:?}", file.display());
        let delete = ["delete", "namespace", "hello", "--wait=false"];
        ensure!(cluster::kubectl(cluster).args(delete).output()?.status.success(), "the namespace stays");
        Ok(())
    })
}

fn get(cluster: &Cluster, kind: &str, path: &str) -> Result<String> {
    let words = ["-n", "hello", "get", kind, "hello", "-o", &format!("jsonpath={path}")];
    Ok(String::from_utf8_lossy(&cluster::kubectl(cluster).args(words).output()?.stdout).into_owned())
}

fn import(cluster: &Cluster) -> Result<()> {
    let work = tempfile::tempdir()?;
    let (source, program) = (work.path().join("hello.c"), work.path().join("hello"));
    fs::write(&source, PROGRAM)?;
    let compiled =
        Command::new("cc").args(["-static", "-Os", "-s", "-o"]).args([&program, &source]).status()?;
    ensure!(compiled.success(), "hello.c does not compile");
    let image = Image {
        name: "docker.io/library/hello:dev".to_owned(),
        files: vec![Entry { path: "hello".to_owned(), host: program, mode: 0o755 }],
        entrypoint: vec!["/hello".to_owned()],
        ..Image::default()
    };
    let archive = work.path().join("hello.tar");
    let digest = image.write(&archive)?;
    node::import(cluster, &archive, &digest)
}
