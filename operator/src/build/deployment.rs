//! Deployment `<name>`: one server. Its template changes only with what needs another pod; the size and the tier's pod
//! settings that it was made with are kept until a rollout happens anyway.

use atsign_crds::PodSettings;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use super::{metadata, template};
use crate::memory::moving::Move;
use crate::options::Options;
use crate::validate::Server;
use crate::{drift, names};

/// What a template was made with and keeps, though the tier may say something else by now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeWith {
    /// Bytes of memory.
    pub memory: u64,
    /// The tier's pod settings.
    pub pod: PodSettings,
    /// The move that it was made for, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Move>,
}

/// Builds it, and says whether the tier's pod settings wait for the next rollout. `asked` is the rollout that the server's
/// memory asks for: it is made once.
pub fn build(
    server: &Server,
    live: Option<&Deployment>,
    asked: Option<&Move>,
    options: &Options,
) -> (Deployment, bool) {
    let fresh = MadeWith { memory: server.memory.default, pod: server.pod.clone(), moved: None };
    let kept = live.and_then(made_with);
    if let (Some(live), Some(kept), false) = (live, kept, server.suspend) {
        let done = kept.moved.as_ref().map(|moved| moved.at);
        if let Some(asked) = asked.filter(|asked| done < Some(asked.at)) {
            let moved = MadeWith { memory: asked.to, moved: Some(asked.clone()), ..fresh };
            return (with(server, &moved, options), false);
        }
        let unchanged = with(server, &kept, options);
        if covers_template(&unchanged, live) {
            let pending = kept.pod != fresh.pod;
            return (unchanged, pending);
        }
    }
    (with(server, &fresh, options), false)
}

/// The move that the Deployment's template is of.
pub fn moved(live: &Deployment) -> Option<Move> {
    made_with(live)?.moved
}

fn made_with(live: &Deployment) -> Option<MadeWith> {
    serde_json::from_str(live.annotations().get(names::TEMPLATE)?).ok()
}

/// Whether the live template is this one: if not, a rollout happens anyway.
fn covers_template(wanted: &Deployment, live: &Deployment) -> bool {
    let template = |deployment: &Deployment| {
        serde_json::to_value(deployment.spec.as_ref().map(|spec| &spec.template)).unwrap_or_default()
    };
    live.spec.as_ref().and_then(|spec| spec.replicas) != Some(0)
        && drift::covers(&template(wanted), &template(live))
}

fn with(server: &Server, made_with: &MadeWith, options: &Options) -> Deployment {
    let mut metadata = metadata(server, &server.name);
    if let Some(tier) = &server.tier {
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(atsign_crds::name::TIER_LABEL.to_owned(), tier.clone());
    }
    let kept = serde_json::to_string(made_with).unwrap_or_default();
    metadata.annotations = Some([(names::TEMPLATE.to_owned(), kept)].into());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(i32::from(!server.suspend)),
            // Two pods of one server would fight for its store.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            revision_history_limit: Some(1),
            selector: LabelSelector {
                match_labels: Some(names::selector(&server.name)),
                ..LabelSelector::default()
            },
            template: template::build(server, made_with, options),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
