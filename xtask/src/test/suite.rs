//! The groups of tests: which test belongs to which, where each runs, and what it needs there.

use anyhow::Result;
use clap::ValueEnum;

use super::{cert_manager, gateway, kwok, metrics_server};
use crate::cluster::Cluster;

/// A group of tests that need the same surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    /// Formatting, clippy, generated files
    Lint,
    /// Tests that need nothing but this machine
    Unit,
    /// The embedded cluster's NFS: server, mounts, provisioner
    Nfs,
    /// Tests against a real API server without nodes (target `cluster_api`)
    Api,
    /// The Helm chart (target `chart`)
    Chart,
    /// Tests in a real cluster (targets `cluster_…`)
    Cluster,
    /// The official SDK, with `cargo xtask local`, in a real cluster and from outside a house (`cluster_sdk`, `cluster_house`)
    Sdk,
    /// Beside the real node one that the KWOK controller plays (target `cluster_kwok`)
    Kwok,
    /// Behind a gateway that many atSigns share, Traefik (target `cluster_gateway`)
    Gateway,
    /// With cert-manager, whose issuers sign (target `cluster_cert_manager`)
    CertManager,
    /// With metrics-server, which measures servers of other images (target `cluster_metrics_server`)
    MetricsServer,
    /// Every fuzz target for a short time; needs a nightly toolchain
    Fuzz,
    /// One writer on the kernel's own NFS, in a guest of user-mode-linux
    KernelNfs,
    /// Memory limits by control groups of version 2, in a guest of user-mode-linux
    CgroupV2,
}

/// Where the tests of a suite run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// This workspace's test programs, on this machine.
    Machine,
    /// This workspace's test programs, in the test cluster's network.
    Cluster,
    /// Elsewhere: the suite has a way of its own.
    Own,
}

impl Suite {
    /// The suite of a test target: its name says what it needs.
    pub(super) fn of(target: &str) -> Self {
        match target {
            "cluster_api" => Self::Api,
            "cluster_sdk" | "cluster_house" => Self::Sdk,
            "cluster_kwok" => Self::Kwok,
            "cluster_gateway" => Self::Gateway,
            "cluster_cert_manager" => Self::CertManager,
            "cluster_metrics_server" => Self::MetricsServer,
            "chart" => Self::Chart,
            _ if target.starts_with("cluster_") => Self::Cluster,
            _ => Self::Unit,
        }
    }

    pub(super) fn place(self) -> Place {
        match self {
            Self::Unit | Self::Api | Self::Chart => Place::Machine,
            Self::Lint | Self::Nfs | Self::Fuzz | Self::KernelNfs | Self::CgroupV2 => Place::Own,
            _ => Place::Cluster,
        }
    }

    /// What is started in the cluster before its tests.
    pub(super) fn guest(self) -> Option<fn(&Cluster) -> Result<()>> {
        match self {
            Self::Kwok => Some(kwok::start),
            Self::Gateway => Some(gateway::start),
            Self::CertManager => Some(cert_manager::start),
            Self::MetricsServer => Some(metrics_server::start),
            _ => None,
        }
    }

    /// Whether its tests speak by the official SDK.
    pub(super) fn needs_python(self) -> bool {
        matches!(self, Self::Sdk | Self::Gateway)
    }

    /// Whether it runs only when it is asked for by name, or in the soak: its tools are not on every machine.
    pub(super) fn is_special(self) -> bool {
        self.guest().is_some() || matches!(self, Self::Fuzz | Self::KernelNfs | Self::CgroupV2)
    }

    /// As it is asked for.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
