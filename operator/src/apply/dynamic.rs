//! Objects of kinds that the cluster may not have: written like all others, removed when they are not wanted any more.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, ResourceExt as _};

use super::{Error, drift, name_of, stamped};
use crate::names;

/// Makes the cluster hold `wanted`, and nothing where nothing is wanted. A live object that `owner` does not own is not
/// touched.
pub(super) async fn settle(
    client: &Client,
    api: Option<&ApiResource>,
    namespace: &str,
    owner: &str,
    wanted: Option<DynamicObject>,
    live: Option<&DynamicObject>,
) -> Result<Option<DynamicObject>, Error> {
    let Some(resource) = api else { return Ok(None) };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let Some(wanted) = wanted else {
        if let Some(live) = live.filter(|live| is_of(live, owner)) {
            remove(&api, resource, &live.name_any()).await?;
        }
        return Ok(None);
    };
    let wanted = stamped(&wanted)?;
    if let Some(live) = live
        && drift::covers(&wanted, &serde_json::to_value(live)?)
    {
        return Ok(Some(live.clone()));
    }
    let name = name_of(&wanted);
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch(&name, &params, &Patch::Apply(&wanted)).await {
        Ok(written) => Ok(Some(written)),
        Err(source) => Err(failed(resource, &name, source)),
    }
}

pub(super) fn is_of(object: &DynamicObject, owner: &str) -> bool {
    object.owner_references().iter().any(|reference| reference.uid == owner)
}

async fn remove(api: &Api<DynamicObject>, resource: &ApiResource, name: &str) -> Result<(), Error> {
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(failed(resource, name, source)),
    }
}

fn failed(resource: &ApiResource, name: &str, source: kube::Error) -> Error {
    Error::Write { kind: resource.kind.clone(), name: name.to_owned(), source }
}
