//! Our own servers: built static from the workspace, laid into images, brought to where a cluster finds them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{Cluster, node};
use crate::image::Image;
use crate::progress::step;

/// Each has a package, a binary and an image of its name.
pub(crate) const SERVERS: [&str; 3] = ["atsign-operator", "atsign-secondary", "atsign-directory"];

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `cargo` in the repository: the one that runs us, where there is one.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    cargo
}

/// Builds the servers, static, so that an image needs nothing beside them, and returns the folder with the binaries.
///
/// # Errors
/// They do not compile.
pub(crate) fn build() -> Result<PathBuf> {
    let target = host_target()?;
    step("servers", "compiling operator, secondary and directory (static, optimised)", || {
        let mut cargo = cargo();
        cargo.args(["build", "--release", "--target", &target]);
        for server in SERVERS {
            cargo.args(["--package", server]);
        }
        // With --target the flag reaches the servers but not what is run while compiling them.
        let built =
            cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").status().context("running cargo")?;
        ensure!(built.success(), "the servers do not compile: see above");
        Ok(())
    })?;
    Ok(target_folder()?.join(target).join("release"))
}

/// Builds kubectl's plugin and links it, under each name that kubectl looks for, into the embedded cluster's programs.
///
/// # Errors
/// It does not compile, or the links cannot be made.
pub(crate) fn install_plugin(cluster: &Cluster) -> Result<()> {
    step("kubectl", "compiling the plugins: kubectl atsign, kubectl create atsign", || {
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--package", "atsign-kubectl", "--bin", "kubectl-atsign"]);
        ensure!(cargo.status().context("running cargo")?.success(), "the plugins do not compile: see above");
        let built = target_folder()?.join("debug/kubectl-atsign");
        let link = cluster.bin().join("kubectl-atsign");
        if fs::read_link(&link).ok().as_ref() != Some(&built) {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(&built, &link)?;
        }
        let linked = Command::new(&link).args(["install-create", "--dir"]).arg(cluster.bin()).output()?;
        ensure!(linked.status.success(), "{}", String::from_utf8_lossy(&linked.stderr).trim());
        Ok(())
    })
}

/// Builds directory and secondary for this machine as cargo does by itself, and returns the folder with the binaries.
///
/// # Errors
/// They do not compile.
pub(crate) fn build_for_here(release: bool) -> Result<PathBuf> {
    let kind = if release { "release" } else { "debug" };
    step("servers", &format!("compiling directory and secondary ({kind})"), || {
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--package", "atsign-directory", "--package", "atsign-secondary"]);
        cargo.args(release.then_some("--release"));
        ensure!(cargo.status().context("running cargo")?.success(), "the servers do not compile: see above");
        Ok(())
    })?;
    Ok(target_folder()?.join(kind))
}

/// An image as a cluster is told of it.
#[derive(Debug)]
pub(crate) struct Built {
    /// The server's name, which is also the image's.
    pub(crate) server: &'static str,
    /// Made of the content unless it was given: another content is another image, which makes Kubernetes roll it out.
    pub(crate) tag: String,
    /// The OCI archive.
    pub(crate) archive: PathBuf,
}

/// Lays each server into an image, tagged `tag`, or else by its content.
///
/// # Errors
/// An archive cannot be written.
pub(crate) fn images(binaries: &Path, folder: &Path, tag: Option<&str>) -> Result<Vec<Built>> {
    fs::create_dir_all(folder)?;
    SERVERS
        .into_iter()
        .map(|server| {
            let archive = folder.join(format!("{server}.tar"));
            let mut image = Image::of_program(server, &binaries.join(server));
            let tag = match tag {
                Some(tag) => tag.to_owned(),
                None => format!("dev-{:.12}", image.write(&archive)?.trim_start_matches("sha256:")),
            };
            image.name = format!("docker.io/library/{server}:{tag}");
            image.write(&archive)?;
            Ok(Built { server, tag, archive })
        })
        .collect()
}

/// Imports the images into the embedded cluster.
///
/// # Errors
/// What containerd says.
pub(crate) fn import(cluster: &Cluster, images: &[Built]) -> Result<()> {
    images.iter().try_for_each(|image| node::import(cluster, &image.archive, &image.tag))
}

/// Builds the secondary server as the tests use it, quickly, and returns the program.
///
/// # Errors
/// It does not compile.
pub(crate) fn build_secondary_for_tests() -> Result<PathBuf> {
    let package = "atsign-secondary";
    step("secondary", "compiling the secondary server for the tests", || {
        let built =
            cargo().args(["build", "--quiet", "--package", package]).status().context("running cargo")?;
        ensure!(built.success(), "the secondary server does not compile: see above");
        Ok(())
    })?;
    Ok(target_folder()?.join("debug").join(package))
}

/// Builds this program optimised, and returns its file: clients that are measured with a server share its processors.
///
/// # Errors
/// It does not compile.
pub(crate) fn build_clients() -> Result<PathBuf> {
    step("clients", "compiling the benchmarks (optimised)", || {
        let built = cargo()
            .args(["build", "--quiet", "--release", "--package", "xtask"])
            .status()
            .context("running cargo")?;
        ensure!(built.success(), "the benchmarks do not compile: see above");
        Ok(())
    })?;
    Ok(target_folder()?.join("release/xtask"))
}

/// The machine's own target; glibc, because that is what a Debian machine compiles for without more packages.
fn host_target() -> Result<String> {
    let version = Command::new("rustc").arg("-vV").output().context("running rustc")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn target_folder() -> Result<PathBuf> {
    let metadata = cargo().args(["metadata", "--no-deps", "--format-version=1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).context("cargo metadata")?;
    Ok(metadata["target_directory"].as_str().context("cargo metadata names no target folder")?.into())
}
