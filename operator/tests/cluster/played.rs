//! What other controllers of a cluster do with the operator's objects, once every moment.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::resource;

/// Annotation with which a test keeps a Deployment from becoming available.
pub const HELD: &str = "test/held";

/// Plays for ever. Whatever fails, an object went or changed meanwhile, is tried again next time.
pub async fn controllers(client: Client, namespace: String, system: String) {
    let names: [&str; 2] = [&namespace, &system];
    loop {
        let began = Instant::now();
        for namespace in names {
            let _ = deployments(&client, namespace).await;
            let _ = jobs(&client, namespace).await;
            let _ = claims(&client, namespace).await;
            let _ = garbage(&client, namespace).await;
        }
        let _ = volumes(&client, &names).await;
        // It lists everything: with a thousand objects the API server must have time for others too.
        tokio::time::sleep(Duration::from_millis(100).max(began.elapsed() * 2)).await;
    }
}

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(kind))
}

/// Deployment controller and kubelet: what is wanted is available.
async fn deployments(client: &Client, namespace: &str) -> kube::Result<()> {
    let api = api(client, namespace, "Deployment");
    for deployment in api.list(&ListParams::default()).await? {
        let generation = deployment.metadata.generation;
        let replicas = deployment.data["spec"]["replicas"].clone();
        let held = deployment.annotations().contains_key(HELD);
        if held || deployment.data["status"]["observedGeneration"].as_i64() == generation {
            continue;
        }
        let status = json!({"status": {"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas}});
        api.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

/// Job controller and kubelet: every Job succeeds.
async fn jobs(client: &Client, namespace: &str) -> kube::Result<()> {
    let api = api(client, namespace, "Job");
    for job in api.list(&ListParams::default()).await? {
        if job.data["status"]["succeeded"].as_i64() == Some(1) {
            continue;
        }
        let now =
            jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).expect("a time").to_string();
        let condition = |type_: &str| json!({"type": type_, "status": "True", "lastProbeTime": now, "lastTransitionTime": now});
        let status = json!({"status": {"succeeded": 1, "startTime": now, "completionTime": now,
            "uncountedTerminatedPods": {},
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}});
        api.patch_status(&job.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

/// Provisioner, binder and claim protection.
async fn claims(client: &Client, namespace: &str) -> kube::Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    for claim in api.list(&ListParams::default()).await? {
        let name = claim.name_any();
        if claim.metadata.deletion_timestamp.is_some() {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            api.patch(&name, &PatchParams::default(), &patch).await?;
            continue;
        }
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
            continue;
        }
        let spec = claim.spec.clone().unwrap_or_default();
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        let volume = if let Some(volume) = &spec.volume_name {
            if volumes.get_opt(volume).await?.is_none() {
                continue;
            }
            volume.clone()
        } else {
            let volume = format!("pvc-{}", claim.uid().unwrap_or_default());
            let wanted = json!({"metadata": {"name": volume}, "spec": {
                    "accessModes": spec.access_modes, "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"},
                    "persistentVolumeReclaimPolicy": "Delete", "storageClassName": spec.storage_class_name,
                    "claimRef": {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": name, "uid": claim.uid()}}});
            let wanted = serde_json::from_value(wanted).expect("a volume");
            match volumes.create(&PostParams::default(), &wanted).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(error),
            }
            api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"volumeName": volume}})))
                .await?;
            volume
        };
        let bound = Patch::Merge(json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}));
        api.patch_status(&name, &PatchParams::default(), &bound).await?;
        volumes
            .patch_status(
                &volume,
                &PatchParams::default(),
                &Patch::Merge(json!({"status": {"phase": "Bound"}})),
            )
            .await?;
    }
    Ok(())
}

/// Volume protection, and the provisioner's deleter.
async fn volumes(client: &Client, namespaces: &[&str; 2]) -> kube::Result<()> {
    let api: Api<PersistentVolume> = Api::all(client.clone());
    for volume in api.list(&ListParams::default()).await? {
        let Some(spec) = &volume.spec else { continue };
        let Some(claim) = &spec.claim_ref else { continue };
        let namespace = claim.namespace.clone().unwrap_or_default();
        if !namespaces.contains(&namespace.as_str()) {
            continue;
        }
        if volume.metadata.deletion_timestamp.is_some() {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            api.patch(&volume.name_any(), &PatchParams::default(), &patch).await?;
            continue;
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
        let live = claims.get_opt(claim.name.as_deref().unwrap_or_default()).await?;
        let released = claim.uid.is_some() && live.and_then(|live| live.uid()) != claim.uid;
        if released && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") {
            api.delete(&volume.name_any(), &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

/// The garbage collector: what belongs to an AtSign that is gone goes.
async fn garbage(client: &Client, namespace: &str) -> kube::Result<()> {
    let alive: HashSet<String> = api(client, namespace, "AtSign")
        .list(&ListParams::default())
        .await?
        .iter()
        .filter_map(ResourceExt::uid)
        .collect();
    for kind in ["ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Secret", "Service"] {
        let api = api(client, namespace, kind);
        for child in api.list(&ListParams::default()).await? {
            let owners = child.owner_references();
            if !owners.is_empty() && owners.iter().all(|owner| !alive.contains(&owner.uid)) {
                api.delete(&child.name_any(), &DeleteParams::default()).await?;
            }
        }
    }
    Ok(())
}
