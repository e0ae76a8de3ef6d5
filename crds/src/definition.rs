//! The `CustomResourceDefinition`s, as the cluster gets them.
//!
//! The derive gives the types' schema; here it becomes what a cluster should hold: no nulls (a field is there or it is
//! not), no defaults (the operator applies them, so that what a user wrote is what is stored), a bound on whatever can
//! grow (so that a stranger cannot fill etcd, and every rule has a bounded cost), and the long descriptions of
//! `affinity` left to the pod that they come from.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation, JSONSchemaProps,
};
use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{AtSign, AtSignTier};

/// The longest string where the type says nothing shorter, in characters.
const MAX_LENGTH: u32 = 1024;
/// The longest list and the largest map where the type says nothing smaller.
const MAX_ITEMS: u32 = 64;
/// What the API machinery allows for the message of a condition.
const MAX_CONDITION_MESSAGE: u32 = 32_768;

/// Both definitions: `AtSign`, then `AtSignTier`.
pub fn all() -> [CustomResourceDefinition; 2] {
    [AtSign::crd(), AtSignTier::crd()].map(|mut definition| {
        for version in &mut definition.spec.versions {
            version.schema = version.schema.take().map(finish);
        }
        definition
    })
}

fn finish(schema: CustomResourceValidation) -> CustomResourceValidation {
    let open_api_v3_schema = schema.open_api_v3_schema.map(|root| {
        let mut root = serde_json::to_value(root).expect("a schema is JSON");
        bound(&mut root);
        if let Some(affinity) = root.pointer_mut("/properties/spec/properties/pod/properties/affinity") {
            forget_descriptions_below(affinity);
        }
        if let Some(message) =
            root.pointer_mut("/properties/status/properties/conditions/items/properties/message")
        {
            message["maxLength"] = json!(MAX_CONDITION_MESSAGE);
        }
        serde_json::from_value::<JSONSchemaProps>(root).expect("a schema stays a schema")
    });
    CustomResourceValidation { open_api_v3_schema }
}

/// Takes nulls and defaults out of `schema` and puts bounds in, here and in all that is below.
fn bound(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    schema.remove("default");
    if let Some(Value::String(description)) = schema.get_mut("description") {
        // kubectl explain breaks lines itself; those of the source would only be in its way.
        *description = description.replace('\n', " ");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") if !schema.contains_key("enum") && !schema.contains_key("format") => {
            schema.entry("maxLength").or_insert(json!(MAX_LENGTH));
        }
        Some("array") => {
            schema.entry("maxItems").or_insert(json!(MAX_ITEMS));
        }
        Some("object") if schema.contains_key("additionalProperties") => {
            schema.entry("maxProperties").or_insert(json!(MAX_ITEMS));
        }
        _ => {}
    }
    for property in properties(schema) {
        bound(property);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(below) {
            bound(below);
        }
    }
}

fn forget_descriptions_below(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    for property in properties(schema) {
        forget_descriptions(property);
    }
}

fn forget_descriptions(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("description");
    for property in properties(schema) {
        forget_descriptions(property);
    }
    if let Some(items) = schema.get_mut("items") {
        forget_descriptions(items);
    }
}

fn properties(schema: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
}
