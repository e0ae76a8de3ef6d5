//! `kubectl atsign tier`: the tiers that there are, or another one for an AtSign.

use anyhow::{Result, bail};
use atsign_crds::{AtSign, AtSignTier};
use clap::Args;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::arguments::Name;
use crate::outcome::{Outcome, is_forbidden};
use crate::output::{UNKNOWN, print, table};
use crate::{change, cluster, find, wait};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  # the tiers, with a * at the one that @alice has
  kubectl atsign tier alice

  # sell @alice another one; her server goes on running
  kubectl atsign tier alice pro --wait";

/// Which AtSign, and which tier.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// The tier that it gets; where none is given, all are shown
    #[arg(value_name = "TIER", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::tiers))]
    tier: Option<String>,
    #[command(flatten)]
    wait: wait::Arguments,
}

/// Shows the tiers, or changes one.
pub async fn tier(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let tiers: Api<AtSignTier> = Api::all(cluster.client.clone());
    let Some(wanted) = &arguments.tier else {
        print(&render(&at_sign, &tiers.list(&ListParams::default()).await?.items))?;
        return Ok(Outcome::Done);
    };
    let name = at_sign.name_any();
    // The operator would say so too, but only after the change.
    match tiers.get_opt(wanted).await {
        Ok(None) => bail!(
            "there is no AtSignTier {wanted}; kubectl atsign tier {name}{} shows those that there are",
            cluster.namespace_flag()
        ),
        Err(error) if !is_forbidden(&error) => return Err(error.into()),
        Ok(Some(_)) | Err(_) => {}
    }
    if at_sign.spec.tier.as_ref() == Some(wanted) {
        print(&format!("atsign.atsign.dev/{name} has the tier {wanted} already\n"))?;
    } else {
        change::patch(&cluster, &name, &json!({"spec": {"tier": wanted}})).await?;
        print(&format!("atsign.atsign.dev/{name} has the tier {wanted} now\n"))?;
    }
    if !arguments.wait.wait {
        return Ok(Outcome::Done);
    }
    wait::until(&cluster, &name, "ready", arguments.wait.timeout, async |at_sign| Ok(find::is_ready(at_sign)))
        .await
}

/// The tiers, and which one is in force.
pub fn render(at_sign: &AtSign, tiers: &[AtSignTier]) -> String {
    let in_force = at_sign.status.as_ref().and_then(|status| status.tier.as_deref());
    let mut rows = vec![["", "TIER", "MEMORY", "CAP", "STORAGE", "DEFAULT"].map(str::to_owned)];
    for tier in tiers {
        let memory = tier.spec.memory.clone().unwrap_or_default();
        let storage = tier.spec.storage.clone().unwrap_or_default();
        let or = |value: Option<String>, built_in: &str| value.unwrap_or_else(|| built_in.to_owned());
        rows.push([
            mark(in_force == Some(&tier.name_any())),
            tier.name_any(),
            or(memory.default, "6Mi"),
            or(memory.cap, "24Mi"),
            or(storage.size, "1Gi"),
            (if tier.spec.default == Some(true) { "yes" } else { UNKNOWN }).to_owned(),
        ]);
    }
    if tiers.is_empty() {
        rows.push(["*", "built-in", "6Mi", "24Mi", "1Gi", "yes"].map(str::to_owned));
    }
    table(&rows)
}

fn mark(is_in_force: bool) -> String {
    (if is_in_force { "*" } else { "" }).to_owned()
}
