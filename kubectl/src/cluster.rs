//! The cluster that a command works on, found as kubectl finds it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};

/// kubectl's flags that choose a cluster, and where the operator is in it.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// The namespace; where it is not given, the context's
    #[arg(short, long, global = true, help_heading = "Cluster", value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The context of the kubeconfig; where it is not given, the current one
    #[arg(long, global = true, help_heading = "Cluster", value_name = "CONTEXT")]
    pub context: Option<String>,
    /// The kubeconfig; where it is not given, $KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, help_heading = "Cluster", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The user to act as
    #[arg(long = "as", global = true, help_heading = "Cluster", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Where the operator is installed
    #[arg(
        long,
        global = true,
        help_heading = "Cluster",
        value_name = "NAMESPACE",
        default_value = "atsign-system"
    )]
    pub operator_namespace: String,
}

/// A cluster to talk to.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace in which names are looked up.
    pub namespace: String,
    /// Whether that is the context's own, so that commands that are proposed need not name it.
    pub is_default_namespace: bool,
    /// Where the operator is.
    pub operator_namespace: String,
}

impl Arguments {
    /// Reads the kubeconfig and prepares a client. Nothing is sent yet.
    pub async fn connect(&self) -> Result<Cluster> {
        let mut config = self.config().await?;
        config.auth_info.impersonate.clone_from(&self.impersonate);
        let default = config.default_namespace.clone();
        let namespace = self.namespace.clone().unwrap_or_else(|| default.clone());
        Ok(Cluster {
            client: Client::try_from(config)?,
            is_default_namespace: namespace == default,
            namespace,
            operator_namespace: self.operator_namespace.clone(),
        })
    }

    /// The namespace that is meant, for a command that needs no cluster.
    pub async fn namespace(&self) -> Option<String> {
        match &self.namespace {
            Some(namespace) => Some(namespace.clone()),
            None => self.config().await.ok().map(|config| config.default_namespace),
        }
    }

    async fn config(&self) -> Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let read = match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await,
            None => Config::from_kubeconfig(&options).await,
        };
        let config = match read {
            Ok(config) => Ok(config),
            // In a pod there is no kubeconfig and none is needed.
            Err(error) if self.kubeconfig.is_none() && self.context.is_none() => {
                Config::incluster().map_err(|_| anyhow::Error::from(error))
            }
            Err(error) => Err(anyhow::Error::from(error)),
        };
        config.context("no cluster to talk to; set KUBECONFIG, or pass --kubeconfig or --context")
    }
}

impl Cluster {
    /// The objects of a kind in the namespace.
    pub fn api<K: Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The objects of a kind in the namespace, or in all of them.
    pub fn api_in<K: Resource<Scope = NamespaceResourceScope>>(&self, all_namespaces: bool) -> Api<K>
    where
        K::DynamicType: Default,
    {
        if all_namespaces { Api::all(self.client.clone()) } else { self.api() }
    }

    /// The objects of a kind in the operator's namespace.
    pub fn operators<K: Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// What a command that is proposed has to say of the namespace: nothing, or ` -n <namespace>`.
    pub fn namespace_flag(&self) -> String {
        if self.is_default_namespace { String::new() } else { format!(" -n {}", self.namespace) }
    }
}
