//! The API as a real API server holds it: the table of `crds/tests/cases`, and what `kubectl` shows of it.

use std::path::Path;

use anyhow::{Context as _, Result};
use atsign_tests::apiserver::ApiServer;
use serde::Deserialize;
use serde_json::{Value, json};

/// One line of the table; `crds/tests/rules.rs` judges the same lines by CEL alone.
#[derive(Deserialize)]
struct Case {
    #[serde(rename = "case")]
    name: String,
    before: Option<Value>,
    manifest: Value,
    refused: Option<String>,
}

#[test]
fn the_api_server_accepts_and_refuses_what_the_table_says_and_kubectl_shows_it() -> Result<()> {
    let server = ApiServer::start()?;
    server.install_crds()?;
    for file in ["atsign.yaml", "atsigntier.yaml"] {
        judge(&server, file)?;
    }
    the_examples_are_accepted(&server)?;
    columns_show_what_status_says(&server)?;
    fields_can_be_selected_by(&server)
}

fn judge(server: &ApiServer, file: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/tests/cases").join(file);
    let cases: Vec<Case> = serde_yaml::from_str(&std::fs::read_to_string(path)?)?;
    let mut wrong = Vec::new();
    for Case { name, before, manifest, refused } in cases {
        let manifest = manifest.to_string();
        // Without `before` nothing is stored, so that no case meets the leavings of another.
        let output = if let Some(before) = &before {
            server.kubectl_ok(&["create", "-f", "-"], &before.to_string()).with_context(|| name.clone())?;
            let output = server.kubectl(&["replace", "-f", "-"], &manifest)?;
            server.kubectl_ok(&["delete", "-f", "-"], &before.to_string())?;
            output
        } else {
            server.kubectl(&["create", "--dry-run=server", "-f", "-"], &manifest)?
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let right = match &refused {
            None => output.status.success(),
            Some(message) => !output.status.success() && said.contains(message.as_str()),
        };
        if !right {
            wrong.push(format!("{name}: expected {refused:?}, kubectl said {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{file}:\n{}", wrong.join("\n"));
    Ok(())
}

fn the_examples_are_accepted(server: &ApiServer) -> Result<()> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for folder in [examples.clone(), examples.join("self-host")] {
        for example in std::fs::read_dir(folder)? {
            let path = example?.path();
            // What is for Helm is no object, and is read by the chart's tests.
            if path.is_dir() || path.ends_with("values.yaml") {
                continue;
            }
            let example = std::fs::read_to_string(&path)?;
            // This API server has no Gateways; the suite `gateway` applies the whole file.
            let is_ours = |object: &&str| !object.contains("apiVersion: gateway.networking.k8s.io/");
            let objects: Vec<_> = example.split("\n---\n").filter(is_ours).collect();
            server
                .kubectl_ok(&["create", "--dry-run=server", "-f", "-"], &objects.join("\n---\n"))
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn columns_show_what_status_says(server: &ApiServer) -> Result<()> {
    let alice =
        json!({"apiVersion": "atsign.dev/v1", "kind": "AtSign", "metadata": {"name": "alice"}, "spec": {}});
    server.kubectl_ok(&["create", "-f", "-"], &alice.to_string())?;
    let status = json!({"status": {
        "atSign": "@alice", "tier": "free", "address": "alice.default.svc.cluster.local",
        "memory": {"current": "6Mi", "used": "1536Ki", "recommended": "8Mi"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "",
                        "observedGeneration": 1, "lastTransitionTime": "2026-11-01T00:00:00Z"}],
    }});
    let status = status.to_string();
    server
        .kubectl_ok(&["patch", "ats", "alice", "--subresource=status", "--type=merge", "-p", &status], "")?;

    let table = server.kubectl_ok(&["get", "ats"], "")?;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words[0],
        ["NAME", "ATSIGN", "TIER", "MEMORY", "USED", "RECOMMENDED", "READY", "REASON", "ADDRESS", "AGE"],
        "{table}"
    );
    assert_eq!(
        words[1][..9],
        [
            "alice",
            "@alice",
            "free",
            "6Mi",
            "1536Ki",
            "8Mi",
            "True",
            "Serving",
            "alice.default.svc.cluster.local"
        ],
        "{table}"
    );
    let by_category = server.kubectl_ok(&["get", "atplatform", "-o", "name"], "")?;
    assert_eq!(by_category.trim(), "atsign.atsign.dev/alice");
    server.kubectl_ok(&["delete", "ats", "alice"], "")?;
    Ok(())
}

fn fields_can_be_selected_by(server: &ApiServer) -> Result<()> {
    for (name, tier) in [("alice", "free"), ("bob", "pro")] {
        let manifest = json!({"apiVersion": "atsign.dev/v1", "kind": "AtSign", "metadata": {"name": name},
                              "spec": {"tier": tier}});
        server.kubectl_ok(&["create", "-f", "-"], &manifest.to_string())?;
    }
    let found = server.kubectl_ok(&["get", "ats", "-o", "name", "--field-selector", "spec.tier=pro"], "")?;
    assert_eq!(found.trim(), "atsign.atsign.dev/bob");
    Ok(())
}
