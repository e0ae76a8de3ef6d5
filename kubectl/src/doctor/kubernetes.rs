//! The cluster itself: its version, whether pods are resized in place, what the nodes start.

use atsign_crds::{AtSignTier, quantity};
use k8s_openapi::api::core::v1::{Node, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::ResourceExt as _;

use super::{Check, Verdict};

/// The first minor version in which pods are resized in place without a switch.
const OLDEST: u32 = 33;
/// From here on a limit shrinks without a restart too.
const SHRINKS: u32 = 34;
/// Below this CRI-O starts no container, unless its runtime is crun.
const CRI_O_FLOOR: u64 = 12 << 20;

/// The version of the API server.
pub fn version(info: &Info) -> Check {
    let what = "Kubernetes";
    let version = &info.git_version;
    match minor(&info.minor) {
        Some(minor) if info.major == "1" && minor < OLDEST => Check::problem(
            what,
            format!("{version}: too old, 1.{OLDEST} or later is needed"),
            "upgrade the cluster",
        ),
        Some(minor) if info.major == "1" && minor < SHRINKS => Check::warning(
            what,
            format!("{version}: servers grow while they run, but get smaller only with a restart"),
            format!("upgrade the cluster to 1.{SHRINKS} or later"),
        ),
        _ => Check::ok(what, version.clone()),
    }
}

/// The minor version; clouds write `33+`.
fn minor(text: &str) -> Option<u32> {
    text.trim_end_matches(|character: char| !character.is_ascii_digit()).parse().ok()
}

/// Whether the API server lets pods be resized.
pub fn resize(resources: &APIResourceList) -> Check {
    let what = "in-place resize";
    if resources.resources.iter().any(|resource| resource.name == "pods/resize") {
        Check::ok(what, "pods/resize is served: servers grow while they run")
    } else {
        Check::problem(
            what,
            "pods/resize is not served: no server can grow",
            "upgrade to Kubernetes 1.33 or later, or turn the feature gate InPlacePodVerticalScaling on",
        )
    }
}

/// What the nodes are, and the least memory that they start a container in.
pub fn nodes(nodes: &[Node], tiers: &[AtSignTier]) -> Vec<Check> {
    let infos: Vec<_> =
        nodes.iter().filter_map(|node| Some((node, node.status.as_ref()?.node_info.as_ref()?))).collect();
    if infos.is_empty() {
        return vec![Check::problem("nodes", "the cluster has no nodes", "add a node: nothing can run")];
    }
    let mut checks = vec![kubelets(&infos), runtimes(&infos, tiers)];
    checks.extend(swap(&infos));
    checks
}

fn kubelets(infos: &[(&Node, &NodeSystemInfo)]) -> Check {
    let what = "nodes";
    let version = |info: &NodeSystemInfo| minor(info.kubelet_version.split('.').nth(1).unwrap_or_default());
    let old: Vec<_> =
        infos.iter().filter(|(_, info)| version(info).is_some_and(|minor| minor < OLDEST)).collect();
    let unready: Vec<_> = infos.iter().filter(|(node, _)| !is_ready(node)).collect();
    if let Some((node, info)) = old.first() {
        return Check::problem(
            what,
            format!(
                "{} of {} cannot resize pods, such as {} ({})",
                old.len(),
                infos.len(),
                node.name_any(),
                info.kubelet_version
            ),
            format!("upgrade their kubelets to 1.{OLDEST} or later"),
        );
    }
    if let Some((node, _)) = unready.first() {
        let found =
            format!("{} of {} are not ready, such as {}", unready.len(), infos.len(), node.name_any());
        let remedy = format!("kubectl describe node {}", node.name_any());
        return if unready.len() == infos.len() {
            Check::problem(what, found, remedy)
        } else {
            Check::warning(what, found, remedy)
        };
    }
    Check::ok(what, format!("{} ready, kubelet {}", infos.len(), infos[0].1.kubelet_version))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn runtimes(infos: &[(&Node, &NodeSystemInfo)], tiers: &[AtSignTier]) -> Check {
    let what = "runtime floor";
    let sold = |tier: &AtSignTier| {
        let default = tier.spec.memory.as_ref().and_then(|memory| memory.default.as_deref());
        quantity::bytes(default.unwrap_or("6Mi"))
    };
    let smallest = tiers.iter().filter_map(sold).min().unwrap_or(6 << 20);
    let cri_o: Vec<_> =
        infos.iter().filter(|(_, info)| info.container_runtime_version.starts_with("cri-o://")).collect();
    let shown = quantity::display(smallest);
    match cri_o.first() {
        Some((node, info)) if smallest < CRI_O_FLOOR => Check::warning(
            what,
            format!(
                "{} of {} nodes run CRI-O, such as {} ({}): it starts no container below 12Mi, unless crun is its runtime; the smallest tier starts with {shown}",
                cri_o.len(),
                infos.len(),
                node.name_any(),
                info.container_runtime_version
            ),
            "make crun the runtime (the default from CRI-O 1.31 on), name its RuntimeClass in the tiers' pod.runtimeClassName, or start tiers with 12Mi",
        ),
        _ => Check::ok(what, format!("{} starts servers of {shown}", infos[0].1.container_runtime_version)),
    }
}

/// A pod on a node with swap may not be resized in place, where it could swap.
fn swap(infos: &[(&Node, &NodeSystemInfo)]) -> Option<Check> {
    let swapping: Vec<_> = infos
        .iter()
        .filter(|(_, info)| {
            info.swap.as_ref().and_then(|swap| swap.capacity).is_some_and(|capacity| capacity > 0)
        })
        .collect();
    let (node, _) = swapping.first()?;
    Some(Check {
        what: "swap",
        verdict: Verdict::Warning,
        found: format!(
            "{} of {} nodes have swap, such as {}: where pods may swap they are not resized in place",
            swapping.len(),
            infos.len(),
            node.name_any()
        ),
        remedy: Some("leave the kubelet's memorySwap.swapBehavior at NoSwap".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn info(major: &str, minor: &str) -> Info {
        Info {
            major: major.to_owned(),
            minor: minor.to_owned(),
            git_version: format!("v{major}.{minor}.0"),
            ..Info::default()
        }
    }

    fn node(runtime: &str, kubelet: &str, swap: Option<i64>) -> Node {
        let swap = swap.map_or(Value::Null, |capacity| json!({"capacity": capacity}));
        let info = json!({"architecture": "", "bootID": "", "containerRuntimeVersion": runtime, "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": kubelet, "machineID": "", "operatingSystem": "", "osImage": "",
            "systemUUID": "", "swap": swap});
        serde_json::from_value(json!({"metadata": {"name": "one"}, "status": {"nodeInfo": info,
            "conditions": [{"type": "Ready", "status": "True"}]}}))
        .unwrap()
    }

    fn tier(memory: &str) -> AtSignTier {
        serde_json::from_value(
            json!({"apiVersion": "atsign.dev/v1", "kind": "AtSignTier", "metadata": {"name": "t"},
            "spec": {"memory": {"default": memory}}}),
        )
        .unwrap()
    }

    #[test]
    fn the_version_decides_whether_servers_can_grow_and_shrink() {
        let verdicts = [("1", "32"), ("1", "33+"), ("1", "34"), ("1", "35"), ("2", "0")]
            .map(|(major, minor)| version(&info(major, minor)).verdict);
        assert_eq!(verdicts, [Verdict::Problem, Verdict::Warning, Verdict::Ok, Verdict::Ok, Verdict::Ok]);
    }

    #[test]
    fn cri_o_without_crun_starts_no_server_below_12_mebibytes() {
        let verdict =
            |runtime, tiers: &[AtSignTier]| nodes(&[node(runtime, "v1.35.0", None)], tiers)[1].verdict;
        assert_eq!(verdict("containerd://1.6.20", &[]), Verdict::Ok);
        assert_eq!(verdict("cri-o://1.30.0", &[]), Verdict::Warning);
        assert_eq!(verdict("cri-o://1.30.0", &[tier("12Mi"), tier("64Mi")]), Verdict::Ok);
        assert_eq!(verdict("cri-o://1.30.0", &[tier("12Mi"), tier("8Mi")]), Verdict::Warning);
    }

    #[test]
    fn an_old_kubelet_or_a_swapping_node_resizes_nothing() {
        let old = nodes(&[node("containerd://1", "v1.32.1", None)], &[]);
        assert_eq!(old[0].verdict, Verdict::Problem);
        let swapping = nodes(&[node("containerd://1", "v1.35.1", Some(1 << 30))], &[]);
        assert_eq!(swapping[2].verdict, Verdict::Warning);
        assert_eq!(nodes(&[node("containerd://1", "v1.35.1", Some(0))], &[]).len(), 2);
        assert_eq!(nodes(&[], &[])[0].verdict, Verdict::Problem);
    }

    #[test]
    fn without_pods_resize_no_server_grows() {
        assert_eq!(resize(&APIResourceList::default()).verdict, Verdict::Problem);
    }
}
