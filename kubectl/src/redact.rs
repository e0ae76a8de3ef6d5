//! Takes out of objects and logs what must not leave the cluster. Secrets themselves are never read for a report; this
//! is for what strayed elsewhere: arguments of other images, variables, a token in a log.

use std::sync::LazyLock;

use regex_lite::{Captures, Regex};
use serde_json::Value;

/// What stands in its place.
const GONE: &str = "<redacted>";

/// Arguments whose value is a secret, as the reference server has them too.
const SECRET_FLAGS: [&str; 4] = ["-s", "--shared-secret", "--shared_secret", "--token"];

/// Names of variables whose value is one.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)secret|token|passw|credential|private|api_?key|cram").expect("a pattern")
});

/// A private key; what follows an atProtocol login or an HTTP token; long runs of digits that only keys and digests are.
/// A digest of an image is no secret and tells which one ran.
static SECRET_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
        r"|(?P<word>(?i:bearer |cram:|pkam:|otp:|spp:|privatekey:\S+ ))\S+",
        r"|(?P<image>sha256:[0-9a-f]{64})",
        r"|[0-9a-fA-F]{64,}|[A-Za-z0-9+/]{128,}={0,2}",
    ))
    .expect("a pattern")
});

/// An object without its secrets, and without what only Kubernetes reads.
pub fn object(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    value(object);
}

fn value(within: &mut Value) {
    match within {
        Value::String(string) => *string = text(string),
        Value::Array(items) => {
            let mut is_secret = false;
            for item in items {
                let is_flag = item.as_str().is_some_and(|item| SECRET_FLAGS.contains(&item));
                if is_secret && item.is_string() {
                    *item = GONE.into();
                }
                is_secret = is_flag;
                flag_with_value(item);
                value(item);
            }
        }
        Value::Object(fields) => {
            let is_secret =
                fields.get("name").and_then(Value::as_str).is_some_and(|name| SECRET_NAME.is_match(name));
            if is_secret && fields.get("value").is_some_and(Value::is_string) {
                fields.insert("value".to_owned(), GONE.into());
            }
            fields.values_mut().for_each(value);
        }
        _ => {}
    }
}

/// `--shared-secret=…`
fn flag_with_value(item: &mut Value) {
    let flag = item.as_str().and_then(|item| item.split_once('=')).map(|(flag, _)| flag.to_owned());
    if let Some(flag) = flag.filter(|flag| SECRET_FLAGS.contains(&flag.as_str())) {
        *item = format!("{flag}={GONE}").into();
    }
}

/// Text without what looks like a secret.
pub fn text(text: &str) -> String {
    let replaced = SECRET_TEXT.replace_all(text, |found: &Captures<'_>| {
        if let Some(image) = found.name("image") {
            return image.as_str().to_owned();
        }
        let word = found.name("word").map_or("", |word| word.as_str());
        format!("{word}{GONE}")
    });
    replaced.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_looks_like_a_secret_leaves_a_text() {
        let cram = "0123456789abcdef".repeat(8);
        let key = "-----BEGIN PRIVATE KEY-----\nMIIB\nx\n-----END PRIVATE KEY-----";
        for (before, after) in [
            (format!("with {cram}!"), "with <redacted>!".to_owned()),
            (format!("a {key} b"), "a <redacted> b".to_owned()),
            ("Authorization: Bearer abc.def".to_owned(), "Authorization: Bearer <redacted>".to_owned()),
            ("sent cram:xyz to it".to_owned(), "sent cram:<redacted> to it".to_owned()),
            (format!("signed {}==", "Ab9/".repeat(86)), "signed <redacted>".to_owned()),
        ] {
            assert_eq!(text(&before), after);
        }
    }

    #[test]
    fn what_helps_a_supporter_stays() {
        let digest = format!("atsign-secondary@sha256:{}", "ab".repeat(32));
        let certificate =
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", "Ab9/".repeat(16));
        for kept in
            [digest.as_str(), &certificate, "epoch 12 of 4f8b61c2-7d1e-4b0a-9a53-5b1f0d6f3a11", "from:@alice"]
        {
            assert_eq!(text(kept), kept);
        }
    }

    #[test]
    fn arguments_and_variables_that_are_secrets_leave_an_object() {
        let mut pod = json!({"metadata": {"name": "alice", "managedFields": [1],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}},
            "spec": {"containers": [{"args": ["--at-sign", "@alice", "-s", "hunter2", "--shared-secret=hunter2", "-p", "64"],
                "env": [{"name": "SHARED_SECRET", "value": "hunter2"}, {"name": "LEVEL", "value": "info"}]}]}});
        object(&mut pod);
        assert_eq!(
            pod,
            json!({"metadata": {"name": "alice", "annotations": {"kept": "yes"}},
                "spec": {"containers": [{"args": ["--at-sign", "@alice", "-s", GONE, "--shared-secret=<redacted>", "-p", "64"],
                    "env": [{"name": "SHARED_SECRET", "value": GONE}, {"name": "LEVEL", "value": "info"}]}]}})
        );
    }
}
