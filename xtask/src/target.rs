//! The cluster that a command works on: the embedded one, or one that the user has.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{self, Cluster, tools};
use crate::host;

/// A cluster, reachable by kubectl and helm.
#[derive(Debug)]
pub(crate) enum Target {
    /// Ours, in its own network.
    Embedded(Cluster),
    /// The user's, by a kubeconfig or a context.
    Given {
        /// The file; absent: what kubectl uses by default.
        kubeconfig: Option<PathBuf>,
        /// The context in it; absent: the current one.
        context: Option<String>,
        /// Where helm is.
        helm: PathBuf,
    },
}

impl Target {
    /// The user's cluster, checked to answer.
    ///
    /// # Errors
    /// kubectl is not installed, helm cannot be built, or the cluster does not answer.
    pub(crate) fn given(
        kubeconfig: Option<PathBuf>,
        context: Option<String>,
        cache: &Cluster,
    ) -> Result<Self> {
        ensure!(
            host::is_installed("kubectl"),
            "kubectl is not installed: it comes with your cluster's tools (https://kubernetes.io/docs/tasks/tools/)"
        );
        let helm = if host::is_installed("helm") {
            PathBuf::from("helm")
        } else {
            tools::HELM.build(cache.cache())?.join("helm")
        };
        let target = Self::Given { kubeconfig, context, helm };
        let answer =
            target.kubectl().args(["get", "--raw", "/readyz"]).output().context("running kubectl")?;
        ensure!(
            answer.status.success(),
            "the cluster does not answer: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        );
        Ok(target)
    }

    /// kubectl on this cluster.
    pub(crate) fn kubectl(&self) -> Command {
        self.command("--context", cluster::kubectl, || PathBuf::from("kubectl"))
    }

    /// helm on this cluster.
    pub(crate) fn helm(&self) -> Command {
        let own = || match self {
            Self::Given { helm, .. } => helm.clone(),
            Self::Embedded(_) => PathBuf::from("helm"),
        };
        self.command("--kube-context", |cluster| cluster::enter(cluster, cluster.bin().join("helm")), own)
    }

    /// How a user types kubectl for this cluster.
    pub(crate) fn typed_kubectl(&self) -> String {
        match self {
            Self::Embedded(cluster) if cluster.name() == "atsign" => "cargo xtask kubectl".to_owned(),
            Self::Embedded(cluster) => format!("cargo xtask kubectl --name {}", cluster.name()),
            Self::Given { .. } => "kubectl".to_owned(),
        }
    }

    fn command(
        &self,
        context_flag: &str,
        embedded: impl FnOnce(&Cluster) -> Command,
        given: impl FnOnce() -> PathBuf,
    ) -> Command {
        match self {
            Self::Embedded(cluster) => embedded(cluster),
            Self::Given { kubeconfig, context, .. } => {
                let mut command = Command::new(given());
                if let Some(kubeconfig) = kubeconfig {
                    command.env("KUBECONFIG", kubeconfig);
                }
                if let Some(context) = context {
                    command.args([context_flag, context]);
                }
                command
            }
        }
    }
}
