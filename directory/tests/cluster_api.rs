//! The directory beside a real API server: it publishes what the operator has put into status, and nothing else.

mod running;

use atsign_tests::apiserver::ApiServer;
use running::{Directory, eventually};
use serde_json::json;

/// The cluster as an operator and its users change it.
struct Cluster(ApiServer);

impl Cluster {
    fn create(&self, namespace: &str, name: &str, spec: &serde_json::Value) {
        let manifest = json!({"apiVersion": "atsign.dev/v1", "kind": "AtSign",
                              "metadata": {"name": name, "namespace": namespace}, "spec": spec});
        self.0.kubectl_ok(&["create", "-f", "-"], &manifest.to_string()).expect("the API takes it");
    }

    fn set_address(&self, namespace: &str, name: &str, address: Option<&str>) {
        let patch = json!({"status": {"address": address}}).to_string();
        self.0
            .kubectl_ok(
                &[
                    "-n",
                    namespace,
                    "patch",
                    "ats",
                    name,
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    &patch,
                ],
                "",
            )
            .expect("the API takes it");
    }

    fn delete(&self, namespace: &str, name: &str) {
        self.0.kubectl_ok(&["-n", namespace, "delete", "ats", name], "").expect("the API takes it");
    }
}

#[test]
fn addresses_follow_the_resources_and_survive_an_outage_of_the_api_server() {
    let server = ApiServer::start().expect("an API server");
    server.install_crds().expect("the CRDs");
    server.kubectl_ok(&["create", "namespace", "other"], "").expect("a namespace");
    let mut cluster = Cluster(server);
    // One is there before the directory, with what a long list has: others that have no address.
    cluster.create("default", "alice", &json!({}));
    cluster.create("default", "waiting", &json!({}));
    cluster.set_address("default", "alice", Some("alice.default.svc.cluster.local"));

    let directory = Directory::of_cluster(&cluster.0.kubeconfig);
    eventually("the directory has read the cluster", || {
        directory.admin("/readyz").starts_with("HTTP/1.1 200")
    });
    assert_eq!(directory.look_up("alice"), "alice.default.svc.cluster.local:6464");
    assert_eq!(directory.look_up("waiting"), "null");

    // An atSign that is no name, in another namespace, at a port of its own; dots and case do not matter.
    cluster.create("other", "tools", &json!({"atSign": "@🛠B.ob"}));
    cluster.set_address("other", "tools", Some("bob.example.com:443"));
    eventually("a new atSign is found", || directory.look_up("🛠bob") == "bob.example.com:443");

    // The younger of two that claim one atSign has no address; its going changes nothing.
    cluster.create("other", "alice", &json!({}));
    cluster.delete("other", "alice");
    cluster.set_address("default", "alice", Some("moved.example.com"));
    eventually("a new address is found", || directory.look_up("alice") == "moved.example.com:6464");

    cluster.0.stop_api();
    assert_eq!(directory.look_up("alice"), "moved.example.com:6464", "answered from memory");
    assert!(directory.admin("/readyz").starts_with("HTTP/1.1 200"));
    cluster.0.start_api().expect("the API server comes back");

    cluster.delete("other", "tools");
    eventually("what was deleted is forgotten", || directory.look_up("🛠bob") == "null");
    cluster.set_address("default", "alice", None);
    eventually("an address that is withdrawn is forgotten", || directory.look_up("alice") == "null");
}
