//! The cluster's programs, built from pinned Go modules into the cache: one folder under `xtask/cluster/` for each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::state::{Cluster, lock};
use crate::nfs;
use crate::progress::step;

/// A Go module of this repository and what is built from it.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The folder under `xtask/cluster/`, with its go.mod and go.sum.
    pub(crate) module: &'static str,
    /// The packages to build; the programs are named after their last path element.
    pub(crate) packages: &'static [&'static str],
    /// Variables that the linker sets, as `-X` takes them.
    pub(crate) variables: &'static [&'static str],
    /// Programs whose package is not named like them, as (built, wanted).
    pub(crate) renamed: &'static [(&'static str, &'static str)],
    /// How long it takes with nothing cached, for the person who waits.
    pub(crate) patience: &'static str,
}

/// Kubernetes and its store.
pub(crate) const KUBERNETES: Tool = Tool {
    module: "kubernetes",
    packages: &[
        "go.etcd.io/etcd/server/v3",
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
    ],
    variables: &[
        "k8s.io/component-base/version.gitVersion=v1.35.4",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=35",
        "k8s.io/component-base/version.gitTreeState=clean",
    ],
    renamed: &[("server", "etcd")],
    patience: "about 10 minutes on two cores, once",
};

/// The cluster's DNS server.
pub(crate) const COREDNS: Tool = Tool {
    module: "coredns",
    packages: &["."],
    variables: &[],
    renamed: &[],
    patience: "about 2 minutes, once",
};

/// What installs the chart.
pub(crate) const HELM: Tool = Tool {
    module: "helm",
    packages: &["helm.sh/helm/v3/cmd/helm"],
    variables: &[],
    renamed: &[],
    patience: "about a minute, once",
};

impl Tool {
    /// Where the pinned version of this tool stands once it is built.
    ///
    /// # Errors
    /// The module's folder cannot be read.
    pub(crate) fn folder(&self, cache: &Path) -> Result<PathBuf> {
        let source = self.source();
        let mut hash = Sha256::new();
        for file in files_below(&source).with_context(|| format!("reading {}", source.display()))? {
            hash.update(file.strip_prefix(&source).unwrap_or(&file).as_os_str().as_encoded_bytes());
            hash.update(fs::read(file)?);
        }
        for word in self.packages.iter().chain(self.variables) {
            hash.update(word);
        }
        Ok(cache.join("bin").join(format!("{}-{}", self.module, short(hash))))
    }

    /// Builds the tool unless the cache has it, and returns the folder with its programs.
    ///
    /// # Errors
    /// There is no Go, or it does not compile.
    pub(crate) fn build(&self, cache: &Path) -> Result<PathBuf> {
        let folder = self.folder(cache)?;
        if folder.exists() {
            return Ok(folder);
        }
        let _building = lock(&cache.join("build.lock"))?;
        if folder.exists() {
            return Ok(folder);
        }
        let doing = format!("building it from its Go modules ({})", self.patience);
        step(self.module, &doing, || self.compile(cache, &folder))?;
        Ok(folder)
    }

    /// Into a folder beside it, renamed when it is whole: a build that was killed leaves nothing that looks done.
    fn compile(&self, cache: &Path, folder: &Path) -> Result<()> {
        require_go()?;
        let partial = folder.with_extension("partial");
        let _ = fs::remove_dir_all(&partial);
        fs::create_dir_all(&partial)?;
        let mut linker_flags = vec!["-s", "-w"];
        linker_flags.extend(self.variables.iter().flat_map(|variable| ["-X", variable]));
        let log_file = cache.join(format!("build-{}.log", self.module));
        let log = fs::File::create(&log_file)?;
        let built = Command::new("go")
            .current_dir(self.source())
            .env("CGO_ENABLED", "0")
            .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags"])
            .arg(linker_flags.join(" "))
            .arg("-o")
            .arg(format!("{}/", partial.display()))
            .args(self.packages)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .context("running go")?;
        ensure!(
            built.success(),
            "building {} failed:\n{}\nall of it is in {}",
            self.module,
            last_lines(&log_file, 15),
            log_file.display()
        );
        for (built, wanted) in self.renamed {
            fs::rename(partial.join(built), partial.join(wanted))?;
        }
        fs::rename(&partial, folder)?;
        Ok(())
    }

    /// Where Go keeps the files of a module that the tool is made of, at the pinned version: programs need manifests too.
    ///
    /// # Errors
    /// There is no Go, or the module cannot be had.
    pub(crate) fn source_of(&self, module: &str) -> Result<PathBuf> {
        let output = Command::new("go")
            .current_dir(self.source())
            .args(["mod", "download", "-json", module])
            .output()
            .context("running go")?;
        ensure!(output.status.success(), "{module}: {}", String::from_utf8_lossy(&output.stderr).trim());
        let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(found["Dir"].as_str().with_context(|| format!("go names no folder of {module}"))?.into())
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(self.module)
    }
}

/// Builds what an embedded cluster is made of and links it into [`Cluster::bin`].
///
/// # Errors
/// A tool cannot be built, or the links cannot be made.
pub(crate) fn prepare(cluster: &Cluster) -> Result<()> {
    let bin = cluster.bin();
    fs::create_dir_all(&bin)?;
    for tool in [&KUBERNETES, &COREDNS, &HELM, &nfs::provisioner::PROVISIONER] {
        for program in fs::read_dir(tool.build(cluster.cache())?)? {
            let program = program?;
            let link = bin.join(program.file_name());
            if fs::read_link(&link).ok() != Some(program.path()) {
                let _ = fs::remove_file(&link);
                std::os::unix::fs::symlink(program.path(), &link)?;
            }
        }
    }
    Ok(())
}

/// All files of a folder, and of those in it, in order.
fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries: Vec<_> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            files.extend(files_below(&entry)?);
        } else {
            files.push(entry);
        }
    }
    Ok(files)
}

/// Enough of a hash to tell two versions apart.
pub(crate) fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The end of a log, for an error message.
pub(crate) fn last_lines(log: &Path, count: usize) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn require_go() -> Result<()> {
    let Ok(version) = Command::new("go").args(["env", "GOVERSION"]).output() else {
        bail!(
            "Go is not installed: install Go 1.25 or newer (https://go.dev/doc/install), then run this again"
        );
    };
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let minor = version.strip_prefix("go1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    ensure!(
        minor.is_none_or(|minor| minor >= 25),
        "{version} is too old: install Go 1.25 or newer (https://go.dev/doc/install), then run this again"
    );
    Ok(())
}
