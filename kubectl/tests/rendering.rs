//! What people see, as the documentation shows it: the files in `golden/`.
//!
//! `ATSIGN_UPDATE_GOLDEN=1 cargo test -p atsign-kubectl --test rendering` writes them anew; read the difference before
//! you commit it.

use std::path::{Path, PathBuf};

use atsign_crds::{AtSign, AtSignTier};
use atsign_kubectl::arguments::{Atsign, CreateAtsign};
use atsign_kubectl::doctor::{self, Examination};
use atsign_kubectl::list::{self, List};
use atsign_kubectl::status::{self, Found, Status};
use atsign_kubectl::{tier, top};
use atsign_protocol::Usage;
use clap::CommandFactory as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn golden(name: &str, shown: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("ATSIGN_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, expected, "golden/{name} differs from what is shown now:\n{shown}");
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": "2026-11-24T09:00:00Z"})
}

fn at_sign(namespace: &str, name: &str, spec: &Value, status: &Value) -> AtSign {
    of(json!({"apiVersion": "atsign.dev/v1", "kind": "AtSign",
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "creationTimestamp": "2026-11-21T12:00:00Z"},
        "spec": spec, "status": status}))
}

fn alice() -> AtSign {
    let ready =
        condition("Ready", "True", "ServerReady", "@alice is served at alice.home.svc.cluster.local:6464");
    let status = json!({"observedGeneration": 1, "atSign": "@alice", "tier": "pro", "activated": false,
        "address": "alice.home.svc.cluster.local", "memory": {"current": "12Mi", "used": "3Mi"},
        "storage": {"used": "128Ki", "capacity": "1Gi"}, "conditions": [ready]});
    at_sign("home", "alice", &json!({"tier": "pro", "storage": {"size": "1Gi"}}), &status)
}

/// Her server crashes.
fn bob() -> AtSign {
    let message = "the server ends with 65 as soon as it starts; see why: kubectl logs -n home deployment/bob-0a4928d795 --previous";
    let status = json!({"observedGeneration": 1, "atSign": "@🛠bob", "tier": "built-in", "activated": true,
        "address": "bob-0a4928d795.home.svc.cluster.local", "memory": {"current": "6Mi"},
        "storage": {"used": "64Ki", "capacity": "1Gi"},
        "conditions": [condition("Ready", "False", "CrashLoop", message), condition("Reconciling", "True", "CrashLoop", message)]});
    at_sign("home", "bob-0a4928d795", &json!({"atSign": "@🛠bob", "deletionPolicy": "Delete"}), &status)
}

/// He was suspended.
fn colin() -> AtSign {
    let message =
        "stopped because spec.suspend is true, the data is kept; set it to false to start the server";
    let status = json!({"observedGeneration": 1, "atSign": "@colin", "tier": "pro", "activated": true,
        "address": "colin.work.svc.cluster.local", "storage": {"used": "64Ki", "capacity": "4Gi"},
        "conditions": [condition("Ready", "False", "Suspended", message), condition("Suspended", "True", "Suspended", message)]});
    at_sign("work", "colin", &json!({"tier": "pro", "suspend": true}), &status)
}

/// Nobody has looked at it.
fn dana() -> AtSign {
    at_sign("work", "dana", &json!({}), &Value::Null)
}

fn pod(name: &str, state: &Value, last: &Value, restarts: i32) -> Pod {
    of(
        json!({"metadata": {"name": name, "namespace": "home"}, "spec": {"nodeName": "node-1", "containers": []},
        "status": {"phase": "Running", "containerStatuses": [{"name": "secondary", "image": "atsign-secondary:1",
            "imageID": "", "ready": true, "restartCount": restarts, "state": state, "lastState": last}]}}),
    )
}

fn usage() -> Usage {
    Usage {
        version: "0.1.0".to_owned(),
        limit: 12 << 20,
        anon: 2_400_000,
        kernel: 300_000,
        sock: 100_000,
        connections: 3,
        keys: 42,
        store_bytes: 98_304,
        notifications_today: 7,
        tls_not_after: now().as_second() + 60 * 86_400,
        ..Usage::default()
    }
}

fn pro() -> AtSignTier {
    of(json!({"apiVersion": "atsign.dev/v1", "kind": "AtSignTier", "metadata": {"name": "pro"},
        "spec": {"memory": {"default": "12Mi", "cap": "64Mi"}, "storage": {"size": "4Gi"}}}))
}

fn free() -> AtSignTier {
    of(json!({"apiVersion": "atsign.dev/v1", "kind": "AtSignTier", "metadata": {"name": "free"},
        "spec": {"default": true, "memory": {"cap": "8Mi"}, "storage": {"size": "256Mi"}}}))
}

fn screen(found: &Found) -> String {
    status::render(&Status::of(found, ""), now())
}

#[test]
fn the_help_shows_every_command_and_the_exit_codes() {
    golden("help.txt", &Atsign::command().render_long_help().to_string());
    golden("help-create.txt", &CreateAtsign::command().render_long_help().to_string());
}

#[test]
fn the_status_of_a_ready_atsign_says_what_where_and_how_much() {
    let running = json!({"running": {"startedAt": "2026-11-24T09:00:00Z"}});
    let found = Found {
        at_sign: alice(),
        tier: Some(pro()),
        pod: Some(pod("alice-5c9f8d7b6-x2k4q", &running, &json!({}), 0)),
        usage: Some(usage()),
        events: Vec::new(),
    };
    golden("status-ready.txt", &screen(&found));
}

#[test]
fn the_status_of_a_crashing_atsign_says_why_and_what_to_do() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let ended = json!({"terminated": {"reason": "Error", "exitCode": 65}});
    let event = of(json!({"metadata": {}, "type": "Warning", "reason": "BackOff", "count": 14,
        "message": "Back-off restarting failed container secondary in pod bob-0a4928d795-6d5f-abcde",
        "involvedObject": {"kind": "Pod", "name": "bob-0a4928d795-6d5f-abcde"}, "lastTimestamp": "2026-11-24T11:59:00Z"}));
    let found = Found {
        at_sign: bob(),
        pod: Some(pod("bob-0a4928d795-6d5f-abcde", &waiting, &ended, 14)),
        events: vec![event],
        ..Found::default()
    };
    golden("status-crash.txt", &screen(&found));
}

#[test]
fn the_status_of_a_suspended_atsign_says_how_to_resume_it() {
    golden(
        "status-suspended.txt",
        &screen(&Found { at_sign: colin(), tier: Some(pro()), ..Found::default() }),
    );
}

#[test]
fn the_status_of_an_atsign_that_no_operator_saw_sends_to_the_doctor() {
    let shown = screen(&Found { at_sign: dana(), ..Found::default() });
    assert!(shown.contains("NotSeenYet") && shown.contains("kubectl atsign doctor"), "{shown}");
}

#[test]
fn the_list_shows_a_line_for_each() {
    let list = List { items: [alice(), bob(), colin(), dana()].iter().map(list::item).collect() };
    golden("list.txt", &list::render(&list, true, now()));
    let without = list::render(&list, false, now());
    assert!(!without.contains("NAMESPACE") && without.contains("@colin"), "{without}");
}

#[test]
fn top_tells_the_servers_own_figures_from_rounded_ones() {
    let mut items =
        vec![top::item(&bob(), None), top::item(&alice(), Some(&usage())), top::item(&colin(), None)];
    top::sort(&mut items, top::Column::Memory);
    golden("top.txt", &top::render(&top::Top { items }, true));
}

#[test]
fn the_tiers_are_shown_with_a_mark_at_the_one_in_force() {
    golden("tier.txt", &tier::render(&alice(), &[free(), pro()]));
    let built_in = tier::render(&bob(), &[]);
    assert!(built_in.contains("*   built-in"), "{built_in}");
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let deployment = of(
        json!({"spec": {"replicas": 1, "selector": {}, "template": {}}, "status": {"availableReplicas": 1}}),
    );
    let info =
        of(json!({"major": "1", "minor": "33", "gitVersion": "v1.33.2", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}));
    let resources = of(
        json!({"groupVersion": "v1", "resources": [{"name": "pods/resize", "singularName": "", "namespaced": true,
        "kind": "Pod", "verbs": ["patch"]}]}),
    );
    let node = of(
        json!({"metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
        "nodeInfo": {"architecture": "", "bootID": "", "containerRuntimeVersion": "cri-o://1.30.4", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "v1.33.2", "machineID": "", "operatingSystem": "", "osImage": "",
            "systemUUID": ""}}}),
    );
    let mut checks = vec![doctor::version(&info), doctor::resize(&resources)];
    checks.extend(doctor::nodes(&[node], &[free(), pro()]));
    checks.push(doctor::available("operator", "atsign-operator", "atsign-system", Some(&deployment)));
    checks.push(doctor::available("directory", "atsign-directory", "atsign-system", None));
    checks.push(doctor::storage(&[], &[free(), pro()]));
    checks.push(doctor::at_signs(&[alice(), bob(), colin()]));
    golden("doctor.txt", &doctor::render(&Examination { checks }));
}

/// Every golden file that the page shows is there as it is, so that the page cannot grow stale.
#[test]
fn the_documentation_shows_what_is_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(folder.join("../docs/kubectl.md")).unwrap();
    let shown = ["status-ready", "status-crash", "list", "top", "tier", "doctor", "restore"];
    for name in shown.map(|name| format!("{name}.txt")) {
        let shown = std::fs::read_to_string(folder.join("tests/golden").join(&name)).unwrap();
        assert!(page.contains(shown.trim_end()), "docs/kubectl.md does not show golden/{name} as it is");
    }
}
