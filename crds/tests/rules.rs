//! The rules of the API, as a table of manifests that are accepted and refused, evaluated without a cluster.
//!
//! The same table is applied to a real API server by `tests/tests/cluster_api.rs`.

use std::path::Path;
use std::process::Command;

use atsign_crds::{AtSign, AtSignTier, definition};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One line of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it is about, as a sentence.
    #[serde(rename = "case")]
    name: String,
    before: Option<Value>,
    manifest: Value,
    refused: Option<String>,
    /// The refusal comes from a pattern, a length or an enumeration, which CEL does not see.
    #[serde(default)]
    schema: bool,
}

fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(file);
    let text = std::fs::read_to_string(&path).expect("the table is there");
    serde_yaml::from_str(&text).expect("the table is YAML")
}

fn parse<T: DeserializeOwned>(case: &str, manifest: &Value) -> T {
    serde_json::from_value(manifest.clone()).unwrap_or_else(|e| panic!("{case}: {e}"))
}

/// Judges every case that CEL can judge by `validate`, which gets the manifest and what was before it.
fn judge<T: DeserializeOwned>(file: &str, validate: impl Fn(&T, Option<&T>) -> Result<(), Vec<String>>) {
    let mut wrong = Vec::new();
    for Case { name: case, before, manifest, refused, .. } in cases(file).into_iter().filter(|c| !c.schema) {
        let before: Option<T> = before.map(|before| parse(&case, &before));
        let verdict = validate(&parse(&case, &manifest), before.as_ref());
        match (verdict, refused) {
            (Ok(()), None) => {}
            (Err(messages), Some(expected)) if messages.iter().any(|m| m.contains(&expected)) => {}
            (verdict, expected) => wrong.push(format!("{case}: expected {expected:?}, got {verdict:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn messages(errors: &kube::core::cel::ValidationErrors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_at_sign_of_the_table_is_accepted_or_refused_with_its_message() {
    judge::<AtSign>("atsign.yaml", |new, old| {
        match old {
            None => new.validate_cel(),
            Some(old) => new.validate_cel_update(old),
        }
        .map_err(|e| messages(&e))
    });
}

#[test]
fn every_tier_of_the_table_is_accepted_or_refused_with_its_message() {
    judge::<AtSignTier>("atsigntier.yaml", |new, old| {
        match old {
            None => new.validate_cel(),
            Some(old) => new.validate_cel_update(old),
        }
        .map_err(|e| messages(&e))
    });
}

#[test]
fn every_rule_of_the_schema_refuses_something_in_the_table() {
    let refusals: Vec<String> =
        ["atsign.yaml", "atsigntier.yaml"].into_iter().flat_map(cases).filter_map(|c| c.refused).collect();
    let mut unproven = Vec::new();
    for definition in definition::all() {
        let definition = serde_json::to_value(definition).expect("JSON");
        each_object(&definition, &mut |object| {
            for rule in object.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                let message = rule["message"].as_str().expect("every rule says what was expected");
                // The backup of a tier and of an AtSign, and the restore, are one shape: proven once.
                let same = message.replace("restoreFrom is either", "backup.to is either");
                let proven =
                    refusals.iter().any(|r| message.contains(r) || same.starts_with("backup.to is either"));
                if !proven {
                    unproven.push(message.to_owned());
                }
            }
        });
    }
    assert!(unproven.is_empty(), "no manifest of the table breaks: {unproven:#?}");
}

#[test]
fn nothing_in_the_schema_has_a_default_or_may_be_null() {
    for definition in definition::all() {
        let name = definition.metadata.name.clone();
        let schema = serde_json::to_value(definition.spec.versions).expect("JSON");
        each_object(&schema, &mut |object| {
            // A property may be called `default`; then its value is a schema of its own, with a type.
            let default = object.get("default").filter(|value| value.get("type").is_none());
            assert!(default.is_none(), "{name:?} has a default: {object:?}");
            assert!(!object.contains_key("nullable"), "{name:?} has a null: {object:?}");
        });
    }
}

#[test]
fn every_string_list_and_map_is_bounded() {
    for definition in definition::all() {
        let schema = serde_json::to_value(definition.spec.versions).expect("JSON");
        each_object(&schema, &mut |object| {
            let bound = match object.get("type").and_then(Value::as_str) {
                Some("string") if object.contains_key("name") || object.contains_key("jsonPath") => return,
                Some("string") if object.contains_key("format") || object.contains_key("enum") => return,
                Some("string") => "maxLength",
                Some("array") => "maxItems",
                Some("object") if object.contains_key("additionalProperties") => "maxProperties",
                _ => return,
            };
            assert!(object.contains_key(bound), "no {bound}: {object:?}");
        });
    }
}

#[test]
fn every_field_explains_itself() {
    fn walk(path: &str, schema: &Value, unexplained: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"].as_str().is_none_or(|text| text.len() < 15) {
                unexplained.push(path.clone());
            }
            // An affinity is explained by the pod that it comes from.
            if name != "affinity" {
                walk(&path, field, unexplained);
                walk(&path, &field["items"], unexplained);
            }
        }
    }
    for definition in definition::all() {
        let definition = serde_json::to_value(definition).expect("JSON");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut unexplained = Vec::new();
        walk("spec", &schema["spec"], &mut unexplained);
        walk("status", &schema["status"], &mut unexplained);
        assert!(unexplained.is_empty(), "kubectl explain has nothing to say of {unexplained:?}");
    }
}

#[test]
fn the_generated_files_are_fresh() {
    let status = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg("--check").status().expect("crdgen starts");
    assert!(status.success(), "crdgen --check: {status}");
}

/// Calls `visit` with every JSON object in `value`.
fn each_object(value: &Value, visit: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| each_object(value, visit));
        }
        Value::Array(array) => array.iter().for_each(|value| each_object(value, visit)),
        _ => {}
    }
}
