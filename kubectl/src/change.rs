//! `kubectl atsign suspend`, `resume` and `restart`: one field or annotation each.

use anyhow::{Result, bail};
use atsign_crds::AtSign;
use atsign_crds::condition::SUSPENDED;
use atsign_crds::name::RESTART_ANNOTATION;
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::arguments::Name;
use crate::cluster::Cluster;
use crate::outcome::Outcome;
use crate::output::print;
use crate::{cluster, find, wait};

/// Who changed a field, in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "kubectl-atsign";

/// Which AtSign, and whether to wait.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    wait: wait::Arguments,
}

/// Stops the server, or starts it again.
pub async fn suspend(cluster: &cluster::Arguments, arguments: &Arguments, suspend: bool) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let name = at_sign.name_any();
    let done = if suspend { "suspended" } else { "resumed" };
    if at_sign.spec.suspend.unwrap_or_default() == suspend {
        print(&format!("atsign.atsign.dev/{name} is {done} already\n"))?;
    } else {
        // Not `false`: a spec says no more than it must.
        let value = if suspend { json!(true) } else { Value::Null };
        patch(&cluster, &name, &json!({"spec": {"suspend": value}})).await?;
        print(&format!("atsign.atsign.dev/{name} {done}\n"))?;
    }
    if !arguments.wait.wait {
        return Ok(Outcome::Done);
    }
    let what = if suspend { "suspended" } else { "ready" };
    wait::until(&cluster, &name, what, arguments.wait.timeout, async |at_sign| {
        Ok(if suspend { find::is(at_sign, SUSPENDED) } else { find::is_ready(at_sign) })
    })
    .await
}

/// Asks for another pod, as `kubectl rollout restart` does.
pub async fn restart(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let name = at_sign.name_any();
    if at_sign.spec.suspend.unwrap_or_default() {
        bail!(
            "AtSign {name} is suspended, nothing of it runs; to start it: kubectl atsign resume {name}{}",
            cluster.namespace_flag()
        );
    }
    let asked = Timestamp::now().to_string();
    patch(&cluster, &name, &json!({"metadata": {"annotations": {RESTART_ANNOTATION: asked}}})).await?;
    print(&format!("atsign.atsign.dev/{name} restarted\n"))?;
    if !arguments.wait.wait {
        return Ok(Outcome::Done);
    }
    let deployments: Api<Deployment> = cluster.api();
    wait::until(&cluster, &name, "restarted", arguments.wait.timeout, async |at_sign| {
        // An annotation changes no generation, so Ready may still speak of the server before.
        let deployment = deployments.get_opt(&name).await?;
        let is_new = deployment.is_some_and(|deployment| runs_since(&deployment, &asked));
        Ok(is_new && find::is_ready(at_sign))
    })
    .await
}

/// Whether the Deployment's pod was made for the restart that was asked for then, and answers.
fn runs_since(deployment: &Deployment, asked: &str) -> bool {
    let annotations =
        deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.annotations.as_ref());
    let is_asked =
        annotations.and_then(|annotations| annotations.get(RESTART_ANNOTATION)).is_some_and(|at| at == asked);
    let Some(status) = &deployment.status else { return false };
    is_asked
        && status.observed_generation == deployment.metadata.generation
        && status.updated_replicas == Some(1)
        && status.available_replicas == Some(1)
}

/// Changes an AtSign.
pub async fn patch(cluster: &Cluster, name: &str, change: &Value) -> kube::Result<AtSign> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    cluster.api::<AtSign>().patch(name, &params, &Patch::Merge(change)).await
}
