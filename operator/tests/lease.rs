//! Only one operator leads, the next one leads soon after it, and none leads without an API server.

use std::time::Duration;

use atsign_operator::lease::{Lease, PATIENCE};
use atsign_operator::{client, metrics::Metrics};
use atsign_tests::apiserver::ApiServer;
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::{Instant, timeout};

async fn connect(server: &ApiServer) -> Client {
    let kubeconfig = Kubeconfig::read_from(&server.kubeconfig).expect("read the kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("configuration");
    client::connect_for_lease(config, &Metrics::default().into(), PATIENCE).expect("a client")
}

#[tokio::test]
async fn one_leads_and_hands_over_and_stops_when_it_cannot_renew() {
    let mut server = ApiServer::start().expect("start etcd and kube-apiserver");
    let client = connect(&server).await;
    let lease =
        async |identity: &str| Lease::new(client.clone(), "default", identity).await.expect("a lease");
    let (first, second) = (lease("first").await, lease("second").await);
    timeout(Duration::from_secs(10), first.acquired()).await.expect("nobody else leads");
    assert!(timeout(Duration::from_secs(3), second.acquired()).await.is_err(), "two lead");

    // While it is renewed the other waits, beyond the end of the first term.
    tokio::select! {
        () = first.lost() => panic!("lost though it could be renewed"),
        () = second.acquired() => panic!("two lead"),
        () = tokio::time::sleep(Duration::from_secs(20)) => {}
    }
    first.release().await;
    let api: Api<LeaseObject> = Api::namespaced(client.clone(), "default");
    let holder =
        api.get("atsign-operator").await.expect("the lease").spec.and_then(|spec| spec.holder_identity);
    assert_ne!(holder.as_deref(), Some("first"), "it was given back");
    timeout(Duration::from_secs(16), second.acquired()).await.expect("the next one leads");

    let outage = Instant::now();
    server.stop_api();
    timeout(Duration::from_secs(15), second.lost())
        .await
        .expect("who cannot renew stops before another may lead");
    assert!(outage.elapsed() < Duration::from_secs(15));
}
