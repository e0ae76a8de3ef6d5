//! The plugins as kubectl runs them, against a real API server without nodes. Nobody reconciles here, so the tests say
//! in the operator's place what it would.

mod archive;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use archive::unpack;
use atsign_tests::apiserver::ApiServer;
use serde_json::{Value, json};
use tempfile::TempDir;

static SERVER: OnceLock<ApiServer> = OnceLock::new();

/// A namespace of one test's own.
struct World {
    namespace: &'static str,
    /// Where the plugins are linked, as a user has them in the `PATH`.
    programs: TempDir,
}

impl World {
    fn new(namespace: &'static str) -> Self {
        let server = SERVER.get_or_init(|| {
            let server = ApiServer::start().expect("start etcd and kube-apiserver");
            server.install_crds().expect("install the CRDs");
            server
        });
        server.kubectl_ok(&["create", "namespace", namespace], "").unwrap();
        let programs = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(
            env!("CARGO_BIN_EXE_kubectl-atsign"),
            programs.path().join("kubectl-atsign"),
        )
        .unwrap();
        let world = Self { namespace, programs };
        world.ok(&["atsign", "install-create"]);
        world
    }

    fn server() -> &'static ApiServer {
        SERVER.get().expect("a world is there")
    }

    /// `kubectl …` as a user types it.
    fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(&World::server().kubeconfig, arguments)
    }

    fn kubectl_with(&self, kubeconfig: &Path, arguments: &[&str]) -> Output {
        let binaries = World::server().binaries();
        let path =
            std::env::join_paths([self.programs.path(), binaries, Path::new("/usr/bin"), Path::new("/bin")])
                .unwrap();
        Command::new(binaries.join("kubectl"))
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("PATH", path)
            .env("HOME", self.programs.path())
            .current_dir(self.programs.path())
            .output()
            .unwrap()
    }

    /// The plugin in this namespace.
    fn in_namespace(&self, arguments: &[&str]) -> Output {
        self.kubectl(&[arguments, &["-n", self.namespace]].concat())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", err(&output));
        out(&output)
    }

    fn ok_in_namespace(&self, arguments: &[&str]) -> String {
        self.ok(&[arguments, &["-n", self.namespace]].concat())
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        let shown = World::server()
            .kubectl_ok(&["get", kind, name, "-n", self.namespace, "-o", "json", "--show-managed-fields"], "")
            .unwrap();
        serde_json::from_str(&shown).unwrap()
    }

    fn apply(&self, manifest: &Value) {
        World::server()
            .kubectl_ok(&["apply", "-n", self.namespace, "-f", "-"], &manifest.to_string())
            .unwrap();
    }

    /// What the operator would say.
    fn say(&self, name: &str, mut status: Value, conditions: &[(&str, &str, &str, &str)]) {
        let generation = self.get("atsign", name)["metadata"]["generation"].clone();
        status["observedGeneration"] = generation.clone();
        status["conditions"] = conditions
            .iter()
            .map(|(type_, is, reason, message)| {
                json!({"type": type_, "status": is, "reason": reason, "message": message,
                    "observedGeneration": generation, "lastTransitionTime": "2026-11-01T00:00:00Z"})
            })
            .collect();
        let patch = json!({"status": status}).to_string();
        let arguments = [
            "patch",
            "atsign",
            name,
            "-n",
            self.namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        World::server().kubectl_ok(&arguments, "").unwrap();
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn create_makes_what_its_flags_say_and_says_so_as_kubectl_does() {
    let world = World::new("create");
    let said = world.ok_in_namespace(&[
        "create",
        "atsign",
        "alice",
        "--tier",
        "pro",
        "--storage",
        "1Gi",
        "--memory-cap",
        "32Mi",
    ]);
    assert_eq!(said, "atsign.atsign.dev/alice created\n");
    let made = world.get("atsign", "alice");
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "kubectl-atsign");
    assert_eq!(made["spec"], json!({"tier": "pro", "storage": {"size": "1Gi"}, "memory": {"cap": "32Mi"}}));
    assert_eq!(world.ok_in_namespace(&["atsign", "create", "bob", "-o", "name"]), "atsign.atsign.dev/bob\n");
    assert_eq!(world.get("atsign", "bob")["spec"], json!({}));
}

#[test]
fn create_of_what_is_there_is_an_error_and_changes_nothing() {
    let world = World::new("exists");
    world.ok_in_namespace(&["create", "atsign", "alice"]);
    let before = world.get("atsign", "alice");
    let again = world.in_namespace(&["create", "atsign", "alice", "--tier", "pro"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(
        err(&again),
        "Error from server (AlreadyExists): atsigns.atsign.dev \"alice\" already exists\n"
    );
    assert_eq!(world.get("atsign", "alice"), before);
}

#[test]
fn a_dry_run_stores_nothing_and_the_servers_one_says_what_it_would_refuse() {
    let world = World::new("dry-run");
    let shown = world.ok_in_namespace(&["create", "atsign", "alice", "--dry-run=server"]);
    assert_eq!(shown, "atsign.atsign.dev/alice created (server dry run)\n");
    let refused = world.in_namespace(&["create", "atsign", "alice", "--memory", "4Mi", "--dry-run=server"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("a secondary server needs at least 6Mi of memory"), "{}", err(&refused));
    // The client's needs no cluster at all.
    let nowhere = world.programs.path().join("none");
    let arguments =
        ["create", "atsign", "alice", "-n", "home", "--tier", "pro", "--dry-run=client", "-o", "json"];
    let shown = world.kubectl_with(&nowhere, &arguments);
    let manifest: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        manifest,
        json!({"apiVersion": "atsign.dev/v1", "kind": "AtSign", "metadata": {"name": "alice", "namespace": "home"},
            "spec": {"tier": "pro"}})
    );
    assert_eq!(
        World::server().kubectl_ok(&["get", "atsigns", "-n", "dry-run", "-o", "name"], "").unwrap(),
        ""
    );
}

#[test]
fn an_atsign_of_any_script_gets_a_name_and_is_found_by_itself() {
    let world = World::new("unicode");
    let said = world.ok_in_namespace(&["create", "atsign", "@🛠bob", "-o", "name"]);
    let name = said.trim().strip_prefix("atsign.atsign.dev/").unwrap();
    assert!(name.starts_with("bob-"), "{name}");
    assert_eq!(world.get("atsign", name)["spec"]["atSign"], "@🛠bob");
    // One that somebody named otherwise is found too.
    world.ok_in_namespace(&["create", "atsign", "@a.Li.ce", "--name", "somebody"]);
    for (given, found) in [("@🛠bob", name), ("@alice", "somebody"), ("somebody", "somebody")] {
        let shown = world.in_namespace(&["atsign", "status", given, "-o", "json"]);
        let status: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(status["name"], found, "{}", err(&shown));
    }
    let missing = world.in_namespace(&["atsign", "status", "@nobody"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("there is no AtSign @nobody in namespace unicode"), "{}", err(&missing));
}

#[test]
fn each_change_is_of_one_field_only() {
    let world = World::new("change");
    for tier in ["change-basic", "change-pro"] {
        world.apply(&json!({"apiVersion": "atsign.dev/v1", "kind": "AtSignTier", "metadata": {"name": tier}, "spec": {}}));
    }
    world.ok_in_namespace(&["create", "atsign", "alice", "--tier", "change-basic", "--storage", "1Gi"]);
    let spec = |suspend: Option<bool>, tier: &str| {
        let mut spec = json!({"tier": tier, "storage": {"size": "1Gi"}});
        if let Some(suspend) = suspend {
            spec["suspend"] = suspend.into();
        }
        spec
    };
    world.ok_in_namespace(&["atsign", "suspend", "alice"]);
    assert_eq!(world.get("atsign", "alice")["spec"], spec(Some(true), "change-basic"));
    let refused = world.in_namespace(&["atsign", "restart", "alice"]);
    assert!(err(&refused).contains("kubectl atsign resume alice -n change"), "{}", err(&refused));
    world.ok_in_namespace(&["atsign", "resume", "@alice"]);
    assert_eq!(world.get("atsign", "alice")["spec"], spec(None, "change-basic"));
    assert_eq!(
        world.ok_in_namespace(&["atsign", "resume", "alice"]),
        "atsign.atsign.dev/alice is resumed already\n"
    );

    world.ok_in_namespace(&["atsign", "tier", "alice", "change-pro"]);
    assert_eq!(world.get("atsign", "alice")["spec"], spec(None, "change-pro"));
    let missing = world.in_namespace(&["atsign", "tier", "alice", "change-gold"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(err(&missing).contains("there is no AtSignTier change-gold"), "{}", err(&missing));
    assert_eq!(world.get("atsign", "alice")["spec"], spec(None, "change-pro"));

    world.ok_in_namespace(&["atsign", "restart", "alice"]);
    let restarted = world.get("atsign", "alice");
    assert!(restarted["metadata"]["annotations"]["atsign.dev/restart"].is_string(), "{restarted}");
    assert_eq!(restarted["spec"], spec(None, "change-pro"));
}

#[test]
fn the_exit_code_says_whether_it_is_ready() {
    let world = World::new("ready");
    world.ok_in_namespace(&["create", "atsign", "alice"]);
    let code = |arguments: &[&str]| world.in_namespace(arguments).status.code();
    assert_eq!(code(&["atsign", "status", "alice"]), Some(3));
    assert_eq!(code(&["atsign", "resume", "alice", "--wait", "--timeout", "1s"]), Some(4));

    world.say(
        "alice",
        json!({}),
        &[
            ("Ready", "False", "TierNotFound", "there is no AtSignTier x"),
            ("Stalled", "True", "TierNotFound", ""),
        ],
    );
    let stalled = world.in_namespace(&["atsign", "resume", "alice", "--wait"]);
    assert_eq!(stalled.status.code(), Some(3));
    assert!(err(&stalled).contains("TierNotFound: there is no AtSignTier x"), "{}", err(&stalled));

    world.say(
        "alice",
        json!({"activated": false}),
        &[("Ready", "True", "ServerReady", "served"), ("Stalled", "False", "AsWanted", "")],
    );
    assert_eq!(code(&["atsign", "status", "alice"]), Some(0));
    assert_eq!(code(&["atsign", "resume", "alice", "--wait"]), Some(0));
    // What is said of an earlier spec does not count.
    world.ok_in_namespace(&["atsign", "suspend", "alice"]);
    assert_eq!(code(&["atsign", "status", "alice"]), Some(3));
    world.say(
        "alice",
        json!({}),
        &[("Ready", "False", "Suspended", "stopped"), ("Suspended", "True", "Suspended", "stopped")],
    );
    assert_eq!(code(&["atsign", "suspend", "alice", "--wait"]), Some(0));
    assert_eq!(code(&["atsign", "status", "alice"]), Some(0));
    assert_eq!(code(&["atsign", "status", "alice", "--no-such-flag"]), Some(2));
}

#[test]
fn the_list_is_of_one_namespace_or_of_all() {
    let world = World::new("list");
    for name in ["alice", "bob"] {
        world.ok_in_namespace(&["create", "atsign", name]);
    }
    world.say(
        "alice",
        json!({"tier": "pro", "memory": {"current": "6Mi"}}),
        &[("Ready", "True", "ServerReady", "")],
    );
    let list: Value =
        serde_json::from_str(&world.ok_in_namespace(&["atsign", "list", "-o", "json"])).unwrap();
    let shown: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| (&item["name"], &item["ready"])).collect();
    assert_eq!(shown, [(&json!("alice"), &json!(true)), (&json!("bob"), &json!(false))]);
    let text = world.ok_in_namespace(&["atsign", "list", "--not-ready"]);
    assert!(text.contains("@bob") && !text.contains("@alice"), "{text}");
    let all = world.ok(&["atsign", "list", "-A"]);
    let is_alice = |line: &str| line.split_whitespace().take(2).eq(["list", "alice"]);
    assert!(all.starts_with("NAMESPACE") && all.lines().any(is_alice), "{all}");
}

#[test]
fn who_may_see_atsigns_only_gets_what_the_status_says() {
    let world = World::new("tenant");
    world.ok_in_namespace(&["create", "atsign", "alice"]);
    world.say(
        "alice",
        json!({"memory": {"current": "8Mi", "used": "2Mi"}, "storage": {"used": "64Ki", "capacity": "1Gi"}}),
        &[("Ready", "True", "ServerReady", "served")],
    );
    world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "tenant"},
         "rules": [{"apiGroups": ["atsign.dev"], "resources": ["atsigns"], "verbs": ["get", "list", "patch"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "tenant"},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
         "subjects": [{"kind": "User", "name": "tenant", "apiGroup": "rbac.authorization.k8s.io"}]}]}));
    let top = world.in_namespace(&["atsign", "top", "--as", "tenant"]);
    assert!(out(&top).contains("~2Mi") && out(&top).contains("25%"), "{}{}", out(&top), err(&top));
    assert!(err(&top).contains("as the operator rounded it"), "{}", err(&top));
    let status = world.in_namespace(&["atsign", "status", "alice", "--as", "tenant"]);
    assert_eq!(status.status.code(), Some(0), "{}", err(&status));
    assert!(out(&status).contains("about 2Mi used of 8Mi"), "{}", out(&status));
    // A tier that may not be looked up is still sold.
    assert!(world.in_namespace(&["atsign", "tier", "alice", "gold", "--as", "tenant"]).status.success());
    let refused = world.in_namespace(&["create", "atsign", "bob", "--as", "tenant"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).starts_with("Error from server (Forbidden)"), "{}", err(&refused));
    let secret = world.in_namespace(&["atsign", "activate", "alice", "--as", "tenant"]);
    assert_eq!(secret.status.code(), Some(3), "{}", err(&secret));
}

#[test]
fn the_doctor_finds_that_a_cluster_without_nodes_and_operator_is_not_fit() {
    let world = World::new("doctor");
    let examined = world.kubectl(&["atsign", "doctor", "-o", "json"]);
    assert_eq!(examined.status.code(), Some(3), "{}", err(&examined));
    let examined: Value = serde_json::from_slice(&examined.stdout).unwrap();
    let verdicts: BTreeMap<_, _> = examined["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| (check["what"].as_str().unwrap(), check["verdict"].as_str().unwrap()))
        .collect();
    let expected = [
        ("Kubernetes", "ok"),
        ("in-place resize", "ok"),
        ("nodes", "problem"),
        ("resources", "ok"),
        ("operator", "problem"),
        ("directory", "problem"),
        ("authority", "problem"),
    ];
    for (what, verdict) in expected {
        assert_eq!(verdicts.get(what), Some(&verdict), "{what}: {examined}");
    }
    let forbidden = world.kubectl(&["atsign", "doctor", "--as", "nobody"]);
    assert!(
        out(&forbidden).contains("unknown  nodes            you may not look at it"),
        "{}",
        out(&forbidden)
    );
}

#[test]
fn a_report_holds_what_helps_and_no_secret() {
    let world = World::new("report");
    world.ok_in_namespace(&["create", "atsign", "alice"]);
    let labels = json!({"app.kubernetes.io/instance": "alice"});
    let (cram, token, key) = ("0123456789abcdef".repeat(8), "fedcba9876543210".repeat(4), "very-private-key");
    for (name, field, value) in [
        ("alice-activation", "cram", cram.as_str()),
        ("alice-admin", "token", &token),
        ("alice-tls", "tls.key", key),
    ] {
        world.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "stringData": {field: value}}));
    }
    world.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "alice", "labels": labels}, "spec": {
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [{
            "name": "secondary", "image": "example.com/secondary", "args": ["--at-sign", "@alice", "-s", "hunter2"],
            "env": [{"name": "SHARED_SECRET", "value": "hunter3"}]}]}}}}));
    world.ok_in_namespace(&["atsign", "report", "alice", "--file", "report.tar.gz"]);
    let files = unpack(&world.programs.path().join("report.tar.gz")).unwrap();
    let text = files.values().cloned().collect::<Vec<_>>().join("\n");
    for name in ["atsign.yaml", "status.txt", "doctor.txt", "deployments.yaml", "secrets.txt"] {
        assert!(files.contains_key(name), "{name} is not among {:?}", files.keys());
    }
    assert!(files["secrets.txt"].contains("alice-activation"), "{}", files["secrets.txt"]);
    assert!(files["deployments.yaml"].contains("example.com/secondary"), "{}", files["deployments.yaml"]);
    for secret in [cram.as_str(), token.as_str(), key, "hunter2", "hunter3", "dmVyeS1wcml2YXRlLWtleQ"] {
        assert!(!text.contains(secret), "{secret} is in the report");
    }
    let again = world.in_namespace(&["atsign", "report", "alice", "--file", "report.tar.gz"]);
    assert_eq!(again.status.code(), Some(1), "a file that is there is not overwritten");
}

#[test]
fn kubectl_completes_commands_names_and_tiers() {
    let world = World::new("completion");
    world.ok_in_namespace(&["create", "atsign", "alice"]);
    world.apply(&json!({"apiVersion": "atsign.dev/v1", "kind": "AtSignTier", "metadata": {"name": "completion-pro"}, "spec": {}}));
    let complete = |words: &[&str]| out(&world.kubectl(&[&["__complete", "atsign"], words].concat()));
    assert!(complete(&["sus"]).starts_with("suspend\t"), "{}", complete(&["sus"]));
    assert_eq!(complete(&["status", "-n", "completion", ""]).lines().next(), Some("alice"));
    let tiers = complete(&["tier", "-n", "completion", "alice", "comp"]);
    assert_eq!(tiers.lines().next(), Some("completion-pro"), "{tiers}");
}
