//! Reconciles `AtSign` resources into running secondary servers.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use atsign_operator::lease::{self, Lease};
use atsign_operator::metering::Metering;
use atsign_operator::metrics::Metrics;
use atsign_operator::options::Options;
use atsign_operator::{client, controller, health, telemetry, trust};
use clap::Parser as _;
use kube::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    telemetry::start();
    let metrics = Arc::new(Metrics::default());
    let config = Config::infer().await.context("find the cluster: neither in a pod nor a kubeconfig")?;
    let lease = {
        let client = client::connect_for_lease(config.clone(), &metrics, lease::PATIENCE)?;
        Lease::new(client, &options.namespace, &options.identity).await.context("read the lease")?
    };
    let client = client::connect(config, &metrics)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let health = tokio::spawn(health::serve(options.metrics_listen, metrics.clone()));
    let metering = Metering::new(client.clone(), options.watch_namespaces.clone());
    let mut metering = tokio::spawn(metering.serve(options.metering_listen));

    tokio::select! {
        () = lease.acquired() => {}
        _ = terminated.recv() => return Ok(()),
        ended = health => bail!("the metrics port failed: {ended:?}"),
        ended = &mut metering => bail!("the metering port failed: {ended:?}"),
    }
    tracing::info!(identity = options.identity, "this process leads");
    metrics.leads(true);

    let now = jiff::Timestamp::now();
    let authority = trust::keep(&client, &options, now).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let mut reconciling = tokio::spawn(controller::run(client, options, metrics.clone(), authority, stopped));
    tokio::select! {
        ended = &mut metering => bail!("the metering port failed: {ended:?}"),
        ended = &mut reconciling => bail!("the controller ended: {ended:?}"),
        // Another may lead by now. What is under way must not go on, so the process ends and is started again.
        () = lease.lost() => bail!("the lease is lost"),
        _ = terminated.recv() => {}
    }
    tracing::info!("asked to end: finishing what is under way");
    drop(stop);
    reconciling.await.context("finish what was under way")?;
    lease.release().await;
    Ok(())
}
