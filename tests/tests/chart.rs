//! The chart: what Helm says of it, what it renders, and what a real API server says of that.
//!
//! `ATSIGN_CLUSTER_BIN` names the folder of helm, kubectl, etcd and kube-apiserver; `cargo xtask test` sets it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::apiserver::ApiServer;
use serde::Deserialize as _;
use serde_json::Value;

const NAMESPACE: &str = "atsign-system";

/// The ways in which the chart is rendered: what it is about, and the values that are set.
const INSTALLATIONS: [(&str, &[&str]); 11] = [
    ("as it is", &[]),
    ("two replicas of each", &["operator.replicas=2", "directory.replicas=2"]),
    ("some namespaces only", &["watchNamespaces={customers-1,customers-2}"]),
    ("another directory", &["directory.enabled=false", "directory.address=root.example.com:64"]),
    (
        "the directory outside",
        &[
            "directory.service.type=LoadBalancer",
            "directory.service.annotations.a/b=c",
            "directory.hostnames={directory.example.com}",
        ],
    ),
    (
        "the directory at a node port",
        &[
            "directory.service.type=NodePort",
            "directory.service.nodePort=30064",
            "directory.service.port=6400",
        ],
    ),
    ("the directory of a Redis", &["directory.redis.secretName=redis", "directory.redis.caKey=ca.crt"]),
    (
        "the directory with an upstream",
        &["directory.upstream.address=root.example.com:64", "directory.upstream.caConfigMap=upstream-ca"],
    ),
    (
        "without policies, budgets and CRDs",
        &["networkPolicy.enabled=false", "directory.podDisruptionBudget.enabled=false", "crds.enabled=false"],
    ),
    (
        "gateways, cert-manager, and no connection to servers",
        &["gatewayApi.enabled=true", "certManager.enabled=true", "operator.probe=false"],
    ),
    (
        "images and placement of one's own",
        &[
            "operator.image.repository=registry.example.com:5000/op",
            "operator.image.tag=1.2.3",
            "imagePullSecrets={registry}",
            "operator.nodeSelector.disk=ssd",
            "operator.tolerations[0].operator=Exists",
            "directory.priorityClassName=system-cluster-critical",
            "directory.podLabels.team=names",
            "operator.podAnnotations.note=hello",
            "operator.memory.shrinkWindow=7200",
            "operator.memory.growAt=70",
        ],
    ),
];

fn helm(arguments: &[&str]) -> Result<Output> {
    let folder = std::env::var_os("ATSIGN_CLUSTER_BIN").context(
        "ATSIGN_CLUSTER_BIN is not set: it names the folder of helm; run this by `cargo xtask test`",
    )?;
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/atsign-operator");
    let program = PathBuf::from(folder).join("helm");
    // A home of its own, so that no plugin or repository of the machine plays along.
    let home = tempfile::tempdir()?;
    Command::new(&program)
        .args(arguments)
        .arg(chart)
        .env("HOME", home.path())
        .output()
        .with_context(|| format!("start {}", program.display()))
}

/// Renders the chart with `values`; Helm's complaint where it refuses them.
fn render(values: &[&str]) -> Result<Result<String, String>> {
    let mut arguments =
        vec!["template", "atsign-operator", "--namespace", NAMESPACE, "--kube-version", "1.35.0"];
    for value in values {
        arguments.extend(["--set", *value]);
    }
    let output = helm(&arguments)?;
    Ok(if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

fn rendered(about: &str, values: &[&str]) -> Result<String> {
    render(values)?.map_err(|complaint| anyhow::anyhow!("{about}: {complaint}"))
}

fn objects(manifests: &str) -> Result<Vec<Value>> {
    serde_yaml::Deserializer::from_str(manifests)
        .map(Value::deserialize)
        .filter(|object| !matches!(object, Ok(Value::Null)))
        .map(|object| Ok(object?))
        .collect()
}

#[test]
fn helm_finds_nothing_to_complain_of() -> Result<()> {
    let output = helm(&["lint", "--strict"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

#[test]
fn values_that_mean_nothing_are_refused_by_their_names() -> Result<()> {
    for (value, complaint) in [
        ("operator.replcias=2", "'replcias' not allowed"),
        ("operator.replicas=two", "at '/operator/replicas': got string, want integer"),
        ("operator.replicas=-1", "at '/operator/replicas': minimum: got -1, want 0"),
        ("operator.image.pullPolicy=Sometimes", "at '/operator/image/pullPolicy'"),
        ("operator.image.repository=a b", "at '/operator/image/repository'"),
        ("secondary.image.pullPolicy=Always", "'pullPolicy' not allowed"),
        ("directory.service.type=Ingress", "at '/directory/service/type'"),
        ("directory.service.port=70000", "at '/directory/service/port'"),
        ("directory.enabled=false", "at '/directory/address': minLength"),
        ("directory.address=root.example.com", "at '/directory/address'"),
        ("directory.hostnames={directory.example.com:64}", "at '/directory/hostnames/0'"),
        ("directory.redis.secretName=My_Redis", "at '/directory/redis/secretName'"),
        ("directory.redis.url=redis://:secret@host", "'url' not allowed"),
        ("directory.upstream.address=root.example.com", "at '/directory/upstream/address'"),
        ("directory.upstream.caConfigMap=ca", "at '/directory/upstream/address': minLength"),
        ("watchNamespaces={Customers}", "at '/watchNamespaces/0'"),
        ("networkPolicy.apiServerPorts={https}", "at '/networkPolicy/apiServerPorts/0'"),
        ("clusterDomain=", "at '/clusterDomain'"),
    ] {
        let said = render(&[value])?.err().with_context(|| format!("{value} was accepted"))?;
        ensure!(said.contains(complaint), "{value}: expected {complaint:?}, helm said {said}");
    }
    Ok(())
}

#[test]
fn the_url_of_redis_comes_from_its_secret_and_no_cluster_is_watched() -> Result<()> {
    let about = "the directory of a Redis";
    let objects = objects(&rendered(about, &["directory.redis.secretName=redis"])?)?;
    let directory = objects
        .iter()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "atsign-directory")
        .context("no directory")?;
    let container = &directory["spec"]["template"]["spec"]["containers"][0];
    ensure!(!container["args"].to_string().contains("--kubernetes"), "{}", container["args"]);
    let url = serde_json::json!({"secretKeyRef": {"name": "redis", "key": "url"}});
    ensure!(container["env"][0]["valueFrom"] == url, "{}", container["env"]);
    Ok(())
}

#[test]
fn no_rule_has_a_wildcard() -> Result<()> {
    for (about, values) in INSTALLATIONS {
        for object in objects(&rendered(about, values)?)? {
            for rule in object["rules"].as_array().into_iter().flatten() {
                ensure!(
                    !rule.to_string().contains('*'),
                    "{about}: {} has {rule}",
                    object["metadata"]["name"]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_object_says_whose_it_is() -> Result<()> {
    for (about, values) in INSTALLATIONS {
        for object in objects(&rendered(about, values)?)? {
            for label in ["name", "instance", "component", "managed-by", "part-of"] {
                let label = format!("app.kubernetes.io/{label}");
                ensure!(
                    object["metadata"]["labels"][&label].is_string(),
                    "{about}: no {label} on {} {}",
                    object["kind"],
                    object["metadata"]["name"]
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_definitions_are_those_of_the_api_and_stay_when_the_release_goes() -> Result<()> {
    let definitions: Vec<Value> = objects(&rendered("as it is", &[])?)?
        .into_iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .collect();
    for (definition, file) in definitions.iter().zip(["atsigns.yaml", "atsigntiers.yaml"]) {
        ensure!(
            definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep",
            "{file} would be deleted"
        );
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds").join(file);
        let plain: Value = serde_yaml::from_str(&std::fs::read_to_string(path)?)?;
        ensure!(definition["spec"] == plain["spec"], "{file} differs in the chart");
    }
    ensure!(definitions.len() == 2, "{} definitions", definitions.len());
    Ok(())
}

#[test]
fn an_api_server_accepts_what_is_rendered_and_grants_what_is_needed() -> Result<()> {
    let server = ApiServer::start()?;
    for namespace in [NAMESPACE, "customers-1", "customers-2", "others"] {
        server.kubectl_ok(&["create", "namespace", namespace], "")?;
    }
    // With this label the API server warns of every pod template that is not restricted.
    let restricted = "pod-security.kubernetes.io/warn=restricted";
    server.kubectl_ok(&["label", "namespace", NAMESPACE, restricted], "")?;

    for (about, values) in INSTALLATIONS {
        let output = server.kubectl(
            &["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"],
            &rendered(about, values)?,
        )?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.is_empty(), "{about}: {said}");
    }
    // The warning is really given where there is reason to.
    let open = rendered("as it is", &[])?.replace("runAsNonRoot: true", "runAsNonRoot: false");
    let output = server.kubectl(&["apply", "--server-side", "--dry-run=server", "-f", "-"], &open)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("would violate PodSecurity"), "a pod that may be root passed: {said}");

    rights_in_every_namespace(&server)?;
    what_a_person_copies_for_a_house(&server)?;
    rights_that_are_switched_on(&server)?;
    rights_of_people(&server)?;
    rights_in_some_namespaces(&server)
}

fn rights_in_every_namespace(server: &ApiServer) -> Result<()> {
    server.kubectl_ok(&["apply", "--server-side", "-f", "-"], &rendered("as it is", &[])?)?;
    for (account, verb, resource, namespace, allowed) in [
        ("atsign-operator", "watch", "atsigns.atsign.dev", "others", true),
        ("atsign-operator", "patch", "atsigns.atsign.dev/status", "others", true),
        ("atsign-operator", "create", "atsigns.atsign.dev", "others", false),
        ("atsign-operator", "delete", "atsigns.atsign.dev", "others", false),
        ("atsign-operator", "create", "secrets", "others", true),
        ("atsign-operator", "patch", "deployments.apps", "others", true),
        ("atsign-operator", "create", "persistentvolumes", "others", true),
        ("atsign-operator", "create", "jobs.batch", NAMESPACE, true),
        ("atsign-operator", "create", "jobs.batch", "others", false),
        ("atsign-operator", "patch", "leases.coordination.k8s.io", NAMESPACE, true),
        ("atsign-operator", "patch", "leases.coordination.k8s.io", "kube-system", false),
        ("atsign-operator", "patch", "networkpolicies.networking.k8s.io", "others", true),
        ("atsign-operator", "update", "secrets/atsign-ca", NAMESPACE, true),
        ("atsign-operator", "update", "secrets/other", NAMESPACE, false),
        ("atsign-operator", "create", "pods", "others", false),
        ("atsign-operator", "create", "pods/exec", "others", false),
        ("atsign-operator", "get", "nodes", "others", false),
        ("atsign-operator", "create", "tokenreviews.authentication.k8s.io", "others", true),
        ("atsign-operator", "create", "clusterrolebindings.rbac.authorization.k8s.io", "others", false),
        ("atsign-directory", "watch", "atsigns.atsign.dev", "others", true),
        ("atsign-directory", "patch", "atsigns.atsign.dev/status", "others", false),
        ("atsign-directory", "get", "secrets", NAMESPACE, false),
    ] {
        judge(server, account, verb, resource, namespace, allowed)?;
    }
    Ok(())
}

/// The files of examples/self-host, as they are.
fn what_a_person_copies_for_a_house(server: &ApiServer) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/self-host");
    let values = folder.join("values.yaml");
    let values = values.to_str().context("a path in UTF-8")?;
    let chart = [
        "template",
        "atsign-operator",
        "--kube-version",
        "1.35.0",
        "--namespace",
        NAMESPACE,
        "--values",
        values,
    ];
    let output = helm(&chart)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["alice.yaml", "external-dns.yaml", "dynamic-dns.yaml"] {
        let file = folder.join(file);
        let file = file.to_str().context("a path in UTF-8")?;
        server.kubectl_ok(
            &["apply", "-n", "others", "--dry-run=server", "--validate=strict", "-f", file],
            "",
        )?;
    }
    Ok(())
}

/// Kinds that this server does not have: kubectl cannot ask about them, but rules speak of them.
fn rights_that_are_switched_on(server: &ApiServer) -> Result<()> {
    let rights = [
        ("get", "gateway.networking.k8s.io", "gateways", true),
        ("watch", "gateway.networking.k8s.io", "gateways", true),
        ("patch", "gateway.networking.k8s.io", "gateways", false),
        ("patch", "gateway.networking.k8s.io", "tlsroutes", true),
        ("watch", "gateway.networking.k8s.io", "tlsroutes", true),
        ("patch", "gateway.networking.k8s.io", "httproutes", false),
        ("patch", "cert-manager.io", "certificates", true),
        ("get", "cert-manager.io", "certificaterequests", true),
        ("create", "cert-manager.io", "certificaterequests", false),
        ("get", "cert-manager.io", "issuers", false),
    ];
    for (values, on) in
        [([].as_slice(), false), (&["gatewayApi.enabled=true", "certManager.enabled=true"], true)]
    {
        server.kubectl_ok(&["apply", "--server-side", "-f", "-"], &rendered("switched on", values)?)?;
        for (verb, group, resource, allowed) in rights {
            let attributes = serde_json::json!({"verb": verb, "group": group, "resource": resource,
                "namespace": "others"});
            let review = serde_json::json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": format!("system:serviceaccount:{NAMESPACE}:atsign-operator"), "resourceAttributes": attributes}});
            let ask = || -> Result<bool> {
                let said = server.kubectl_ok(&["create", "-o", "json", "-f", "-"], &review.to_string())?;
                Ok(serde_json::from_str::<Value>(&said)?["status"]["allowed"] == true)
            };
            // The API server hears of changed roles a moment later.
            let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
            while ask()? != (allowed && on) {
                ensure!(
                    std::time::Instant::now() < deadline,
                    "{values:?}: {verb} {resource} is not {allowed}"
                );
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

/// Nothing aggregates roles here, so people get ours themselves instead of `view` and `edit`.
fn rights_of_people(server: &ApiServer) -> Result<()> {
    for (person, roles) in [("viewer", &["atsign-view"][..]), ("editor", &["atsign-view", "atsign-edit"])] {
        for role in roles {
            let binding = format!("{person}-{role}");
            let (role, user) = (format!("--clusterrole={role}"), format!("--user={person}"));
            server.kubectl_ok(&["create", "rolebinding", &binding, &role, &user, "-n", "customers-1"], "")?;
        }
    }
    server.kubectl_ok(
        &["create", "clusterrolebinding", "seller", "--clusterrole=atsign-tiers-view", "--user=seller"],
        "",
    )?;
    for (person, verb, resource, namespace, allowed) in [
        ("viewer", "list", "atsigns.atsign.dev", "customers-1", true),
        ("viewer", "create", "atsigns.atsign.dev", "customers-1", false),
        ("viewer", "list", "atsigns.atsign.dev", "customers-2", false),
        ("editor", "watch", "atsigns.atsign.dev", "customers-1", true),
        ("editor", "create", "atsigns.atsign.dev", "customers-1", true),
        ("editor", "delete", "atsigns.atsign.dev", "customers-1", true),
        ("editor", "patch", "atsigns.atsign.dev/status", "customers-1", false),
        ("editor", "create", "atsigns.atsign.dev", "customers-2", false),
        ("editor", "list", "atsigntiers.atsign.dev", "customers-1", false),
        ("seller", "list", "atsigntiers.atsign.dev", "customers-1", true),
        ("seller", "patch", "atsigntiers.atsign.dev", "customers-1", false),
    ] {
        judge_as(server, person, verb, resource, namespace, allowed)?;
    }
    Ok(())
}

fn rights_in_some_namespaces(server: &ApiServer) -> Result<()> {
    // The binding to every namespace would stay; Helm would remove it.
    server.kubectl_ok(&["delete", "clusterrolebinding", "atsign-operator"], "")?;
    let some = rendered("some namespaces only", &["watchNamespaces={customers-1,customers-2}"])?;
    server.kubectl_ok(&["apply", "--server-side", "-f", "-"], &some)?;
    for (resource, namespace, allowed) in [
        ("secrets", "customers-1", true),
        ("deployments.apps", "customers-2", true),
        ("secrets", NAMESPACE, true),
        ("secrets", "others", false),
        ("persistentvolumes", "others", true),
    ] {
        judge(server, "atsign-operator", "create", resource, namespace, allowed)?;
    }
    Ok(())
}

fn judge(
    server: &ApiServer,
    account: &str,
    verb: &str,
    resource: &str,
    namespace: &str,
    allowed: bool,
) -> Result<()> {
    let account = format!("system:serviceaccount:{NAMESPACE}:{account}");
    judge_as(server, &account, verb, resource, namespace, allowed)
}

fn judge_as(
    server: &ApiServer,
    account: &str,
    verb: &str,
    resource: &str,
    namespace: &str,
    allowed: bool,
) -> Result<()> {
    // To kubectl what stands behind a slash is an object's name.
    let (resource, subresource) = match resource.rsplit_once('/') {
        Some((resource, subresource @ ("status" | "exec"))) => (resource, subresource),
        _ => (resource, ""),
    };
    let of = format!("--subresource={subresource}");
    let output =
        server.kubectl(&["auth", "can-i", verb, resource, &of, "-n", namespace, "--as", account], "")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = if allowed { "yes" } else { "no" };
    ensure!(
        said.starts_with(expected),
        "{account} may {verb} {resource} {subresource} in {namespace}: {said}, expected {expected}"
    );
    Ok(())
}
