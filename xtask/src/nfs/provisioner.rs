//! What makes the cluster's volumes: a process beside the NFS server that gives each claim a folder of the export.

use std::path::Path;

use super::Server;
use crate::cluster::tools::Tool;

/// The provisioner's program, `nfs-provisioner`.
pub(crate) const PROVISIONER: Tool = Tool {
    module: "nfs-provisioner",
    packages: &["."],
    variables: &[],
    renamed: &[],
    patience: "about a minute, once",
};

/// The cluster's StorageClass, `nfs`, its default.
pub(crate) const STORAGE_CLASS: &str = include_str!("storage_class.yaml");

/// The name that [`STORAGE_CLASS`] gives it.
const NAME: &str = "nfs.atsign.dev/embedded";

/// How the program is run: on the machine of the NFS server, whose export must be there, as root, where `kubeconfig`
/// reaches the API server.
pub(crate) fn arguments(server: &Server, kubeconfig: &Path) -> [String; 4] {
    [
        format!("--name={NAME}"),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--server={}", server.ip),
        format!("--export={}", server.export().display()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storage_class_names_this_provisioner() {
        assert!(STORAGE_CLASS.lines().any(|line| line == format!("provisioner: {NAME}")));
    }
}
