//! Asks servers what they use, at most once in five minutes each: exact figures are in their metrics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use atsign_protocol::Usage;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::build::template::ADMIN_PORT;
use crate::memory::admin;

/// How old an answer may be.
const FRESH: Duration = Duration::from_mins(5);
/// How old it may be where there was none, or while somebody waits to see it change: the owner is over a limit.
const FRESH_WHILE_AWAITED: Duration = Duration::from_secs(15);

/// What each pod said last, by its UID.
#[derive(Debug, Default)]
pub struct UsageCache {
    answers: Mutex<HashMap<String, Answer>>,
}

/// What a pod said, when, and by which limits it was judged.
#[derive(Clone, Debug)]
struct Answer {
    asked: Instant,
    usage: Option<Usage>,
    judged_by: String,
}

impl UsageCache {
    /// What the one ready pod says; from memory, while that is fresh. No answer is no error. `judged_by`: names the limits
    /// that it is compared with; with others it is asked anew. `awaited`: somebody waits for it to change.
    pub async fn of(&self, pods: &[Pod], judged_by: String, awaited: bool) -> Option<Usage> {
        let pod = pods.iter().find(|pod| is_ready(pod) && has_admin_port(pod))?;
        let uid = pod.uid()?;
        if let Some(Answer { asked, usage, .. }) =
            self.remembered(&uid).filter(|answer| answer.judged_by == judged_by)
        {
            let fresh = match &usage {
                // Once the owner has logged in, that is why we are here.
                Some(usage) if !usage.activated => Duration::ZERO,
                Some(_) if !awaited => FRESH,
                _ => FRESH_WHILE_AWAITED,
            };
            if asked.elapsed() < fresh {
                return usage;
            }
        }
        let address = pod.status.as_ref()?.pod_ip.clone()?;
        let usage = match admin::usage(&address).await {
            Ok(usage) => Some(usage),
            Err(error) => {
                tracing::debug!(%error, "the server does not say what it uses");
                None
            }
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // Of pods that are gone nobody asks again.
        answers.retain(|_, answer| answer.asked.elapsed() < 2 * FRESH);
        answers.insert(uid, Answer { asked: Instant::now(), usage: usage.clone(), judged_by });
        usage
    }

    fn remembered(&self, uid: &str) -> Option<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }
}

/// Whether this is our server: others have no admin port.
fn has_admin_port(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .any(|port| port.container_port == ADMIN_PORT)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
