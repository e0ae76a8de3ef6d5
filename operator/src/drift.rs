//! Whether a live object still is what was applied: a second reconcile of an unchanged object must send no write, and
//! what somebody else changed must be put back.

use serde_json::Value;

/// The fields that tell the elements of Kubernetes' associative lists apart.
const KEYS: [&str; 3] = ["mountPath", "uid", "name"];

/// A field that API servers before Kubernetes 1.33 drop.
const YOUNG: &str = "resizePolicy";

/// Whether every field that `wanted` sets stands in `live` with the same value. What others added beside it is theirs.
pub fn covers(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Null, _) => true,
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(key, wanted)| match live.get(key) {
                Some(live) => covers(wanted, live),
                // The API server drops empty objects and lists of some fields, and what it is too old for.
                None => is_empty(wanted) || key == YOUNG,
            })
        }
        (Value::Array(wanted), Value::Array(live)) => match key_of(wanted) {
            Some(key) => wanted.iter().all(|element| {
                live.iter()
                    .find(|other| other[key] == element[key])
                    .is_some_and(|other| covers(element, other))
            }),
            None => {
                wanted.len() == live.len()
                    && wanted.iter().zip(live).all(|(wanted, live)| covers(wanted, live))
            }
        },
        _ => wanted == live,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

fn key_of(elements: &[Value]) -> Option<&'static str> {
    KEYS.into_iter()
        .find(|key| !elements.is_empty() && elements.iter().all(|element| element[*key].is_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_and_others_add_is_no_drift() {
        let wanted =
            json!({"spec": {"replicas": 1, "containers": [{"name": "a", "env": [{"name": "X"}]}], "x": {}}});
        let live = json!({"spec": {"replicas": 1, "paused": false, "containers": [
            {"name": "other"}, {"name": "a", "image": "i", "env": [{"name": "X", "value": ""}]}]}, "status": {}});
        assert!(covers(&wanted, &live));
    }

    #[test]
    fn a_field_that_an_old_api_server_drops_is_no_drift() {
        let wanted = json!([{"name": "a", "resizePolicy": [{"resourceName": "memory"}]}]);
        assert!(covers(&wanted, &json!([{"name": "a"}])));
        assert!(!covers(&wanted, &json!([{"name": "a", "resizePolicy": []}])));
    }

    #[test]
    fn a_changed_or_missing_field_is_drift() {
        let wanted = json!({"spec": {"replicas": 1, "args": ["a", "b"]}});
        for live in [
            json!({"spec": {"replicas": 2, "args": ["a", "b"]}}),
            json!({"spec": {"args": ["a", "b"]}}),
            json!({"spec": {"replicas": 1, "args": ["b", "a"]}}),
            json!({"spec": {"replicas": 1, "args": ["a", "b", "c"]}}),
            json!({}),
        ] {
            assert!(!covers(&wanted, &live), "{live}");
        }
    }

    #[test]
    fn an_element_of_an_associative_list_that_is_gone_is_drift() {
        let wanted = json!([{"name": "tls", "mountPath": "/a"}, {"name": "tls", "mountPath": "/b"}]);
        assert!(!covers(
            &wanted,
            &json!([{"name": "tls", "mountPath": "/a"}, {"name": "x", "mountPath": "/c"}])
        ));
    }
}
