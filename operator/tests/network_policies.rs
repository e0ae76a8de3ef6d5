//! Who may connect to whom, judged by the `NetworkPolicies` that stand in a cluster: the chart's, as Helm renders them,
//! and an AtSign's, as the operator makes it. Judged here, by the rules of the Kubernetes API: the plain bridge of the
//! embedded cluster enforces no policies.

mod cluster;

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::World;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// One end of a connection.
#[derive(Clone, Debug)]
enum End {
    /// A pod: its namespace, and its labels.
    Pod(&'static str, Value),
    /// Somewhere outside of the cluster; the API server is there, too.
    Outside,
}

/// Whether `policies` let `from` connect to a TCP port of `to`.
fn allowed(policies: &[Value], from: &End, to: &End, port: u64) -> bool {
    side(policies, from, "Egress", "egress", "to", to, port)
        && side(policies, to, "Ingress", "ingress", "from", from, port)
}

/// One side of it: a pod that no policy of this type selects is free, one that is selected needs a rule.
fn side(
    policies: &[Value],
    own: &End,
    type_: &str,
    rules: &str,
    peers: &str,
    other: &End,
    port: u64,
) -> bool {
    let End::Pod(namespace, labels) = own else { return true };
    let selecting: Vec<_> = policies
        .iter()
        .filter(|policy| {
            policy["metadata"]["namespace"] == *namespace
                && policy["spec"]["policyTypes"].as_array().expect("types").contains(&json!(type_))
                && selects(&policy["spec"]["podSelector"], labels)
        })
        .collect();
    let rules = selecting.iter().flat_map(|policy| policy["spec"][rules].as_array().into_iter().flatten());
    selecting.is_empty()
        || rules.into_iter().any(|rule| {
            let is_port = |said: &Value| said["protocol"] == "TCP" && said["port"].as_u64() == Some(port);
            let is_peer = |said: &Value| is_peer(said, namespace, other);
            rule["ports"].as_array().is_none_or(|ports| ports.iter().any(is_port))
                && rule[peers].as_array().is_none_or(|peers| peers.iter().any(is_peer))
        })
}

fn is_peer(said: &Value, namespace: &str, other: &End) -> bool {
    assert!(said.get("ipBlock").is_none(), "no policy of ours has an ipBlock: {said}");
    let End::Pod(of, labels) = other else { return false };
    let in_namespace = match said.get("namespaceSelector") {
        Some(selector) => selects(selector, &json!({"kubernetes.io/metadata.name": of})),
        None => *of == namespace,
    };
    in_namespace && said.get("podSelector").is_none_or(|selector| selects(selector, labels))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    assert!(selector.get("matchExpressions").is_none(), "no selector of ours has expressions: {selector}");
    let wanted = selector["matchLabels"].as_object().cloned().unwrap_or_default();
    wanted.iter().all(|(label, value)| labels[label] == *value)
}

/// The chart's policies, as a person installs them.
fn of_the_chart() -> Vec<Value> {
    let folder = std::env::var_os("ATSIGN_CLUSTER_BIN").expect("run this by `cargo xtask test`");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/atsign-operator");
    let rendered = Command::new(PathBuf::from(folder).join("helm"))
        .args(["template", "atsign-operator", "--namespace", "atsign-system", "--kube-version", "1.35.0"])
        .arg(chart)
        .output()
        .expect("start helm");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    serde_yaml::Deserializer::from_slice(&rendered.stdout)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .filter(|object| object["kind"] == "NetworkPolicy")
        .collect()
}

/// The operator's policy for an AtSign, moved to where the table has it.
async fn of_an_atsign(name: &str) -> Value {
    let world = World::new().await;
    let operator = world.operator().await;
    world.apply("AtSign", name, json!({"spec": {}})).await;
    world.until(name, "True", "ServerReady").await;
    let policy = world.get("NetworkPolicy", name).await.expect("the policy").to_string();
    operator.stop().await;
    let moved = policy.replace(&world.namespace, "home").replace(&world.system, "atsign-system");
    serde_json::from_str(&moved).expect("JSON")
}

#[tokio::test]
async fn each_connects_to_what_it_needs_and_to_nothing_else() {
    let mut policies = of_the_chart();
    policies.push(of_an_atsign("alice").await);
    assert_eq!(policies.len(), 3);

    let labelled = |name: &str, instance: &str| json!({"app.kubernetes.io/name": name, "app.kubernetes.io/instance": instance});
    let operator = End::Pod("atsign-system", labelled("atsign-operator", "atsign-operator"));
    let directory = End::Pod("atsign-system", labelled("atsign-directory", "atsign-operator"));
    let alice = End::Pod("home", labelled("atsign-secondary", "alice"));
    let neighbour = End::Pod("home", json!({"app": "web"}));
    let monitoring = End::Pod("monitoring", json!({"app": "prometheus"}));
    let anybody = [&neighbour, &monitoring, &End::Outside];

    let mut table = vec![
        // The operator: the API server, names, what servers present and use.
        (&operator, &End::Outside, 6443, true),
        (&operator, &monitoring, 53, true),
        (&operator, &alice, 6464, true),
        (&operator, &alice, 9464, true),
        (&operator, &neighbour, 80, false),
        (&operator, &End::Outside, 6464, false),
        (&operator, &End::Outside, 80, false),
        // The directory asks nobody but the API server.
        (&directory, &End::Outside, 443, true),
        (&directory, &alice, 6464, false),
        (&directory, &alice, 9464, false),
        (&directory, &End::Outside, 64, false),
        // A server finds others, wherever they are.
        (&alice, &directory, 6400, true),
        (&alice, &End::Outside, 6464, true),
        (&alice, &operator, 9443, false),
    ];
    for stranger in anybody {
        table.extend([
            (stranger, &alice, 6464, true),
            (stranger, &alice, 9464, false),
            (stranger, &alice, 22, false),
            (stranger, &directory, 6400, true),
            (stranger, &directory, 64, false),
            (stranger, &operator, 8080, true),
            (stranger, &operator, 443, false),
        ]);
    }
    for (from, to, port, expected) in table {
        let said = allowed(&policies, from, to, port);
        assert_eq!(said, expected, "{from:?} to port {port} of {to:?}");
    }
    // Without the policies everything is open: the table judges them, not itself.
    assert!(allowed(&[], &End::Outside, &alice, 9464));
}
