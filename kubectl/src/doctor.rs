//! `kubectl atsign doctor`: is this cluster fit for atSigns?

mod at_signs;
mod installation;
mod kubernetes;
mod storage;

use anyhow::Result;
use atsign_crds::{AtSign, AtSignTier};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use crate::cluster::{self, Cluster};
use crate::find;
use crate::outcome::{Outcome, is_forbidden, is_not_found};
use crate::output::{Format, show, wrap};

pub use at_signs::at_signs;
pub use installation::{authority, available, definitions};
pub use kubernetes::{nodes, resize, version};
pub use storage::storage;

/// How it is shown.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// json or yaml instead of text
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or not for long.
    Warning,
    /// It does not work.
    Problem,
    /// It could not be looked at.
    Unknown,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// All checks.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// In the order in which one thing needs the other.
    pub checks: Vec<Check>,
}

/// Shows them.
pub async fn doctor(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let examination = examine(&cluster, Timestamp::now()).await?;
    show(arguments.output, &examination, || render(&examination))?;
    let is_fit = examination.checks.iter().all(|check| check.verdict != Verdict::Problem);
    Ok(if is_fit { Outcome::Done } else { Outcome::NotReady })
}

/// Looks at everything. Only a cluster that does not answer at all is an error.
pub async fn examine(cluster: &Cluster, now: Timestamp) -> Result<Examination> {
    let client = &cluster.client;
    let mut checks = vec![version(&client.apiserver_version().await?)];
    let all = ListParams::default();

    let resources = client.list_core_api_resources("v1").await;
    checks.push(judged("in-place resize", resources, |resources| vec![resize(&resources)]).remove(0));

    let tiers = Api::<AtSignTier>::all(client.clone()).list(&all).await.map(|list| list.items);
    let known_tiers = tiers.as_ref().map(Vec::as_slice).unwrap_or_default();
    let found = Api::<Node>::all(client.clone()).list(&all).await;
    checks.extend(judged("nodes", found, |list| nodes(&list.items, known_tiers)));

    let found = Api::<CustomResourceDefinition>::all(client.clone()).list(&all).await;
    checks.extend(judged("resources", found, |list| vec![definitions(&list.items)]));

    let deployments: Api<Deployment> = cluster.operators();
    for (what, name) in [("operator", "atsign-operator"), ("directory", "atsign-directory")] {
        let found = deployments.get_opt(name).await;
        let namespace = &cluster.operator_namespace;
        checks.extend(judged(what, found, |found| vec![available(what, name, namespace, found.as_ref())]));
    }

    let found = cluster.operators::<ConfigMap>().get_opt("atsign-ca").await;
    checks.extend(judged("authority", found, |found| vec![authority(found.as_ref(), now)]));

    let found = Api::<StorageClass>::all(client.clone()).list(&all).await;
    checks.extend(judged("storage", found, |list| vec![storage(&list.items, known_tiers)]));

    let found = find::all(&Api::<AtSign>::all(client.clone()), &all).await;
    checks.extend(judged("AtSigns", found, |found| vec![at_signs(&found)]));
    Ok(Examination { checks })
}

/// What was found, judged; or that it could not be looked at.
fn judged<T>(what: &'static str, found: kube::Result<T>, judge: impl FnOnce(T) -> Vec<Check>) -> Vec<Check> {
    match found {
        Ok(found) => judge(found),
        Err(error) => {
            let why = if is_forbidden(&error) {
                "you may not look at it".to_owned()
            } else if is_not_found(&error) {
                "the cluster does not know such objects".to_owned()
            } else {
                error.to_string()
            };
            vec![Check { what, verdict: Verdict::Unknown, found: why, remedy: None }]
        }
    }
}

/// The checks as text.
pub fn render(examination: &Examination) -> String {
    let mut lines: Vec<String> = examination.checks.iter().flat_map(lines).collect();
    let count = |verdict| examination.checks.iter().filter(|check| check.verdict == verdict).count();
    lines.push(String::new());
    lines.push(match (count(Verdict::Problem), count(Verdict::Warning)) {
        (0, 0) => "This cluster is fit for atSigns.".to_owned(),
        (0, warnings) => format!("This cluster is fit for atSigns; {warnings} to look at."),
        (problems, warnings) => format!("{problems} to repair, {warnings} to look at."),
    });
    lines.join("\n") + "\n"
}

fn lines(check: &Check) -> Vec<String> {
    let mark = match check.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "WARNING",
        Verdict::Problem => "PROBLEM",
        Verdict::Unknown => "unknown",
    };
    let mut lines: Vec<String> = wrap(&check.found, 76)
        .into_iter()
        .enumerate()
        .map(|(i, line)| {
            if i == 0 { format!("{mark:<8} {:<16} {line}", check.what) } else { format!("{:<25} {line}", "") }
        })
        .collect();
    let remedy = check.remedy.iter().flat_map(|remedy| wrap(remedy, 72)).enumerate();
    lines.extend(remedy.map(|(i, line)| format!("{:<25} {} {line}", "", if i == 0 { "->" } else { "  " })));
    lines
}
