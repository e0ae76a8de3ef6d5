//! What to do next, as commands that can be copied. Pure: it follows from what the AtSign says.

use atsign_crds::AtSign;
use atsign_crds::condition::{
    MEMORY_CAP_REACHED, POD_SETTINGS_PENDING, QUOTA_EXCEEDED, READY, RESIZE_BLOCKED, STORAGE_SIZE_DIFFERS,
    SUSPENDED,
};
use atsign_crds::name::PAUSED_ANNOTATION;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::{find, wait};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is for.
    pub why: &'static str,
    /// The command.
    pub command: String,
}

/// The steps that may help, the first one first. `flag` is what commands have to say of the namespace.
pub fn steps(at_sign: &AtSign, flag: &str) -> Vec<Step> {
    let name = at_sign.name_any();
    let step = |why, command: &str| {
        let command = command.replace("NAME", &name);
        Step { why, command: format!("kubectl {command}{flag}") }
    };
    if wait::is_paused(at_sign) {
        return vec![step(
            "let the operator look after it again",
            &format!("annotate atsign NAME {PAUSED_ANNOTATION}-"),
        )];
    }
    if find::is(at_sign, SUSPENDED) {
        return vec![step("start it", "atsign resume NAME")];
    }
    let mut steps = Vec::new();
    if !find::is_ready(at_sign) {
        let reason = find::condition(at_sign, READY).map_or("", |ready| ready.reason.as_str());
        steps.extend(for_reason(reason).iter().map(|(why, command)| step(why, command)));
    } else if at_sign.status.as_ref().and_then(|status| status.activated) == Some(false) {
        steps.push(step("log in for the first time and get the keys", "atsign activate NAME"));
    }
    let is = |type_| find::condition(at_sign, type_).is_some_and(|condition| condition.status == "True");
    if is(POD_SETTINGS_PENDING) {
        steps.push(step("take the tier's new pod settings over now", "atsign restart NAME"));
    }
    if is(QUOTA_EXCEEDED) {
        steps.push(step("see tiers with larger limits", "atsign tier NAME"));
    }
    if is(MEMORY_CAP_REACHED) || is(RESIZE_BLOCKED) {
        steps.push(step("see tiers with more memory", "atsign tier NAME"));
    }
    if is(STORAGE_SIZE_DIFFERS) {
        steps.push(step("see how far the volume has grown", "describe pvc NAME"));
    }
    steps
}

/// What helps when an AtSign is not ready for this reason.
fn for_reason(reason: &str) -> &'static [(&'static str, &'static str)] {
    match reason {
        "" => &[("is the operator there?", "atsign doctor")],
        "TierNotFound" | "TierNotAllowed" | "OutsideTier" => {
            &[("see the tiers", "atsign tier NAME"), ("choose one of them", "atsign tier NAME TIER")]
        }
        "ImageNotAllowed" => {
            &[("see the tiers", "atsign tier NAME"), ("take spec.image out", "edit atsign NAME")]
        }
        "NotYetSupported" | "InvalidAtSign" => &[("correct it", "edit atsign NAME")],
        "GatewayApiOff" | "GatewayApiMissing" | "CertManagerOff" | "CertManagerMissing" => {
            &[("do without it, or ask who runs the cluster", "edit atsign NAME")]
        }
        "GatewayNotFound" | "GatewayUnfit" => {
            &[("see the Gateways", "get gateways"), ("choose one of them", "edit atsign NAME")]
        }
        "RoutePending" | "RouteNotAccepted" | "RouteNotResolved" => {
            &[("see what the Gateway says of its route", "describe tlsroute NAME")]
        }
        "LoadBalancerPending" | "WaitingForService" => {
            &[("see what becomes of its Service", "describe service NAME")]
        }
        "ApplyRefused" => &[("see what the namespace may have", "describe resourcequota,limitrange")],
        "MemoryBelowRuntimeMinimum" => {
            &[("see what the nodes' runtime needs", "atsign doctor"), ("see the tiers", "atsign tier NAME")]
        }
        "AtSignTaken" => &[("see who has it", "atsign list -A"), ("delete this one", "delete atsign NAME")],
        "NameTaken" => &[("see what stands in the way", "get deployment,service,pvc,secret,configmap NAME")],
        "ClaimPending" | "ClaimNotFound" | "ClaimOfAnother" => &[
            ("see why there is no volume", "describe pvc NAME"),
            ("check the cluster's storage", "atsign doctor"),
        ],
        "NoStorageClass" | "StorageClassNotFound" => &[("see the storage classes", "get storageclass")],
        // The message itself has the command: only it knows the Secret's name.
        "ActivationSecretNotFound" | "ActivationSecretInvalid" => &[],
        "CertificatePending" => &[("see what its issuer says", "describe certificate,certificaterequest")],
        "CertificateNotFound" | "CertificateInvalid" => {
            &[("see the certificates", "get secret --field-selector type=kubernetes.io/tls")]
        }
        "OutOfMemory" => &[
            ("see tiers with more memory", "atsign tier NAME"),
            ("see what it said", "atsign logs NAME --previous"),
        ],
        "CrashLoop" => &[("see why it ends", "atsign logs NAME --previous")],
        "ServerStarting" | "WaitingForCertificate" => &[("see what it does", "atsign logs NAME --follow")],
        "Unschedulable" | "ImagePullFailed" | "PodConfigInvalid" | "ContainerFailed" | "PodRefused" => {
            &[("see what the cluster says of its pod", "describe pod -l app.kubernetes.io/instance=NAME")]
        }
        _ => &[("collect what a supporter needs", "atsign report NAME")],
    }
}
