//! Finds the AtSign that a person means.

use anyhow::{Result, bail};
use atsign_crds::AtSign;
use atsign_crds::condition::READY;
use atsign_protocol::{AtSign as Identity, object_name};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;

/// How many objects are asked for at once: a namespace may have thousands.
const PAGE: u32 = 500;

/// The AtSign of this name, or of this atSign, in the cluster's namespace.
pub async fn at_sign(cluster: &Cluster, given: &str) -> Result<AtSign> {
    let api: Api<AtSign> = cluster.api();
    let wanted = identity_of(given);
    let name = if is_object_name(given) {
        Some(given.to_owned())
    } else {
        // So `kubectl create atsign` named it.
        wanted.as_ref().map(object_name)
    };
    if let Some(name) = name
        && let Some(found) = api.get_opt(&name).await?
        && (is_object_name(given) || identity(&found) == wanted)
    {
        return Ok(found);
    }
    let of_that_name = |found: &AtSign| wanted.is_some() && identity(found) == wanted;
    match all(&api, &ListParams::default()).await?.into_iter().find(of_that_name) {
        Some(found) => Ok(found),
        None => bail!(
            "there is no AtSign {given} in namespace {}; kubectl atsign list -A shows all of them",
            cluster.namespace
        ),
    }
}

/// Whether it can be the name of an object, and nothing else in a path.
fn is_object_name(given: &str) -> bool {
    given.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// All objects, page by page.
pub async fn all<K>(api: &Api<K>, params: &ListParams) -> kube::Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut params = params.clone().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The atSign that somebody writes with or without its @.
pub fn identity_of(given: &str) -> Option<Identity> {
    let with_at = if given.starts_with('@') { given.to_owned() } else { format!("@{given}") };
    Identity::parse(&with_at).ok()
}

/// The atSign that an AtSign stands for, if it is one.
pub fn identity(at_sign: &AtSign) -> Option<Identity> {
    let written = at_sign.spec.at_sign.clone().unwrap_or_else(|| format!("@{}", at_sign.name_any()));
    Identity::parse(&written).ok()
}

/// How an AtSign is shown: its atSign where it has one.
pub fn shown(at_sign: &AtSign) -> String {
    identity(at_sign).map_or_else(|| at_sign.name_any(), |identity| identity.to_string())
}

/// A condition by its type.
pub fn condition<'a>(at_sign: &'a AtSign, type_: &str) -> Option<&'a Condition> {
    at_sign.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is True, and speaks of the present spec.
pub fn is(at_sign: &AtSign, type_: &str) -> bool {
    condition(at_sign, type_).is_some_and(|condition| {
        condition.status == "True" && condition.observed_generation == at_sign.metadata.generation
    })
}

/// Whether the operator has seen the present spec and the server answers.
pub fn is_ready(at_sign: &AtSign) -> bool {
    let observed = at_sign.status.as_ref().and_then(|status| status.observed_generation);
    observed == at_sign.metadata.generation && is(at_sign, READY)
}
