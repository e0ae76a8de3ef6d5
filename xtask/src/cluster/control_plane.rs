//! etcd, the API server, the controller manager and the scheduler.

use std::time::Duration;

use anyhow::Result;

use super::network::{NODE_IP, SERVICE_CIDR};
use super::pki::FRONT_PROXY;
use super::process::{self, Process};
use super::state::Cluster;
use super::{kubectl, wait_for_log};
use crate::progress::wait_until;

/// Starts what does not run, and returns once the API server is ready.
///
/// # Errors
/// One of them ends, or the API server is not ready in time.
pub(crate) fn ensure(cluster: &Cluster) -> Result<()> {
    etcd(cluster).ensure(cluster)?;
    api_server(cluster).ensure(cluster)?;
    controller_manager(cluster).ensure(cluster)?;
    scheduler(cluster).ensure(cluster)?;
    let log = wait_for_log(cluster, "kube-apiserver");
    wait_until("the API server is ready", Duration::from_mins(2), &log, || {
        for name in ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            process::require_running(cluster, name)?;
        }
        Ok(kubectl(cluster).args(["get", "--raw", "/readyz"]).output()?.status.success())
    })
}

fn etcd(cluster: &Cluster) -> Process {
    Process::new("etcd", cluster.bin().join("etcd"))
        .arg(format!("--data-dir={}", cluster.state().join("etcd").display()))
        .arg("--listen-client-urls=http://127.0.0.1:2379")
        .arg("--advertise-client-urls=http://127.0.0.1:2379")
        .arg("--listen-peer-urls=http://127.0.0.1:2380")
        .arg("--log-level=warn")
}

fn api_server(cluster: &Cluster) -> Process {
    let pki = |file: &str| cluster.pki().join(file).display().to_string();
    let front_proxy = |file: &str| cluster.front_proxy().join(file).display().to_string();
    Process::new("kube-apiserver", cluster.bin().join("kube-apiserver"))
        .arg("--etcd-servers=http://127.0.0.1:2379")
        .arg(format!("--advertise-address={NODE_IP}"))
        .arg("--secure-port=6443")
        .arg(format!("--tls-cert-file={}", pki("apiserver.crt")))
        .arg(format!("--tls-private-key-file={}", pki("apiserver.key")))
        .arg(format!("--client-ca-file={}", pki("ca.crt")))
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={}", pki("service-accounts.pub")))
        .arg(format!("--service-account-signing-key-file={}", pki("service-accounts.key")))
        .arg(format!("--service-cluster-ip-range={SERVICE_CIDR}"))
        .arg(format!("--kubelet-certificate-authority={}", pki("ca.crt")))
        .arg(format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")))
        .arg(format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")))
        .arg("--kubelet-preferred-address-types=InternalIP")
        // Who serves another API beside this one, such as metrics-server, is told who asks.
        .arg(format!("--proxy-client-cert-file={}", front_proxy("client.crt")))
        .arg(format!("--proxy-client-key-file={}", front_proxy("client.key")))
        .arg(format!("--requestheader-client-ca-file={}", front_proxy("ca.crt")))
        .arg(format!("--requestheader-allowed-names={FRONT_PROXY}"))
        .arg("--requestheader-username-headers=X-Remote-User")
        .arg("--requestheader-group-headers=X-Remote-Group")
        .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
        .arg("--allow-privileged")
}

fn controller_manager(cluster: &Cluster) -> Process {
    let pki = |file: &str| cluster.pki().join(file).display().to_string();
    Process::new("kube-controller-manager", cluster.bin().join("kube-controller-manager"))
        .arg(format!("--kubeconfig={}", pki("controller-manager.conf")))
        .arg(format!("--service-account-private-key-file={}", pki("service-accounts.key")))
        .arg(format!("--root-ca-file={}", pki("ca.crt")))
        .arg("--use-service-account-credentials")
        .arg("--leader-elect=false")
}

fn scheduler(cluster: &Cluster) -> Process {
    Process::new("kube-scheduler", cluster.bin().join("kube-scheduler"))
        .arg(format!("--kubeconfig={}", cluster.pki().join("scheduler.conf").display()))
        .arg("--leader-elect=false")
}
