//! The CustomResourceDefinitions, as the cluster gets them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::{AtSign, AtSignTier};

/// Both definitions: `AtSign`, then `AtSignTier`.
pub fn all() -> [CustomResourceDefinition; 2] {
    [AtSign::crd(), AtSignTier::crd()]
}
