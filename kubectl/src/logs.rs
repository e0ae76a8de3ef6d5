//! `kubectl atsign logs`: what a server says.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, LogParams};

use crate::arguments::Name;
use crate::outcome::Outcome;
use crate::output::print;
use crate::{cluster, find, server, wait};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  kubectl atsign logs alice --follow
  kubectl atsign logs alice --previous       what the server said before it ended
  kubectl atsign logs alice --since 10m";

/// Which server, and how much.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// Go on with what it says from now on
    #[arg(short, long)]
    follow: bool,
    /// What it said before it was started the last time
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(i64).range(0..))]
    tail: Option<i64>,
    /// Only what is newer than this, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = wait::seconds)]
    since: Option<Duration>,
}

/// Shows it.
pub async fn logs(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let name = at_sign.name_any();
    let api: Api<Pod> = cluster.api();
    let Some(pod) = server::pods(&api, &name).await?.into_iter().next() else {
        bail!(
            "nothing runs for AtSign {name}; why: kubectl atsign status {name}{}",
            cluster.namespace_flag()
        );
    };
    let params = LogParams {
        container: Some(server::CONTAINER.to_owned()),
        follow: arguments.follow,
        previous: arguments.previous,
        tail_lines: arguments.tail,
        since_seconds: arguments.since.map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        ..LogParams::default()
    };
    let mut lines = api.log_stream(&pod.name_any(), &params).await?.lines();
    while let Some(line) = lines.try_next().await? {
        print(&(line + "\n"))?;
    }
    Ok(Outcome::Done)
}
