//! `kubectl atsign report`: what a supporter needs, in one file, without any secret.

use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams, LogParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::Name;
use crate::cluster::{self, Cluster};
use crate::outcome::Outcome;
use crate::output::print;
use crate::{doctor, find, redact, status};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  kubectl atsign report alice
  kubectl atsign report alice --file - | tar -tzf -

In it: the AtSign, its tier and what was made for it, events, the logs of its server and of the operator, and what doctor
says. Of Secrets only the names: their content is not even read. What looks like a secret elsewhere is taken out. The
atSign's data is not in it. Look through it before you send it to anybody.";

/// The lines of each log that go in.
const LOG_LINES: i64 = 5_000;
/// And its bytes.
const LOG_BYTES: i64 = 4 << 20;

/// Which one, and where to.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// The file to write, - for standard output [default: atsign-report-NAMESPACE-NAME-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Writes it.
pub async fn report(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let name = at_sign.name_any();
    let now = Timestamp::now();
    let folder = format!("atsign-report-{}-{name}-{}", cluster.namespace, now.strftime("%Y%m%dT%H%M%SZ"));
    let file = arguments.file.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));

    let mut bundle = Bundle::default();
    Box::pin(collect(&mut bundle, &cluster, at_sign, now)).await?;
    if file.as_os_str() == "-" {
        bundle.write(&folder, now, std::io::stdout().lock())?;
    } else {
        let doing = || format!("writing {}", file.display());
        bundle.write(&folder, now, File::create_new(&file).with_context(doing)?).with_context(doing)?;
        print(&format!(
            "{}: {} files, no secrets; look through it before you send it\n",
            file.display(),
            bundle.files.len()
        ))?;
    }
    for missing in &bundle.missing {
        eprintln!("not in it: {missing}");
    }
    Ok(Outcome::Done)
}

async fn collect(
    bundle: &mut Bundle,
    cluster: &Cluster,
    at_sign: atsign_crds::AtSign,
    now: Timestamp,
) -> Result<()> {
    let name = at_sign.name_any();
    let found = status::gather(cluster, at_sign).await;
    bundle.text("status.txt", &status::render(&status::Status::of(&found, &cluster.namespace_flag()), now));
    bundle.text("doctor.txt", &doctor::render(&doctor::examine(cluster, now).await?));
    bundle.object("atsign.yaml", &found.at_sign)?;
    if let Some(tier) = &found.tier {
        bundle.object("tier.yaml", tier)?;
    }
    if let Some(usage) = &found.usage {
        bundle.object("usage.yaml", usage)?;
    }
    let of_it = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
    bundle.objects::<Deployment>("deployments", cluster.api(), &of_it).await?;
    bundle.objects::<ReplicaSet>("replicasets", cluster.api(), &of_it).await?;
    let pods = bundle.objects::<Pod>("pods", cluster.api(), &of_it).await?;
    bundle.objects::<Service>("services", cluster.api(), &of_it).await?;
    bundle.objects::<ConfigMap>("configmaps", cluster.api(), &of_it).await?;
    bundle.objects::<NetworkPolicy>("networkpolicies", cluster.api(), &of_it).await?;
    let claims = bundle.objects::<PersistentVolumeClaim>("claims", cluster.api(), &of_it).await?;
    for volume in claims.iter().filter_map(|claim| claim.spec.as_ref()?.volume_name.clone()) {
        match Api::<PersistentVolume>::all(cluster.client.clone()).get(&volume).await {
            Ok(volume) => bundle.object(&format!("volume-{}.yaml", volume.name_any()), &volume)?,
            Err(error) => bundle.missing.push(format!("volume {volume}: {error}")),
        }
    }
    secrets(bundle, cluster, &of_it).await;
    events(bundle, cluster, &name).await?;
    bundle.logs("", &cluster.api(), &pods).await;

    let operator = ListParams::default().labels("app.kubernetes.io/name=atsign-operator");
    bundle.objects::<Deployment>("operator/deployments", cluster.operators(), &operator).await?;
    let pods = bundle.objects::<Pod>("operator/pods", cluster.operators(), &operator).await?;
    bundle.logs("operator/", &cluster.operators(), &pods).await;
    Ok(())
}

/// Their names: what is in them is not asked for.
async fn secrets(bundle: &mut Bundle, cluster: &Cluster, of_it: &ListParams) {
    match cluster.api::<Secret>().list_metadata(of_it).await {
        Ok(list) => {
            let names = list.items.iter().map(|secret| secret.name_any() + "\n");
            let names: String = names.collect();
            bundle.text("secrets.txt", &names);
        }
        Err(error) => bundle.missing.push(format!("names of Secrets: {error}")),
    }
}

/// What happened to objects whose names begin with that of the AtSign.
async fn events(bundle: &mut Bundle, cluster: &Cluster, name: &str) -> Result<()> {
    match find::all(&cluster.api::<Event>(), &ListParams::default()).await {
        Ok(mut events) => {
            let is_ours = |about: &str| {
                about == name || about.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
            };
            events.retain(|event| event.involved_object.name.as_deref().is_some_and(is_ours));
            bundle.list("events.yaml", &events)
        }
        Err(error) => {
            bundle.missing.push(format!("events: {error}"));
            Ok(())
        }
    }
}

/// What goes into the file; every way in takes secrets out.
#[derive(Default)]
struct Bundle {
    files: Vec<(String, Vec<u8>)>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

impl Bundle {
    fn text(&mut self, path: &str, text: &str) {
        self.files.push((path.to_owned(), redact::text(text).into_bytes()));
    }

    fn object(&mut self, path: &str, object: &impl Serialize) -> Result<()> {
        let mut value = serde_json::to_value(object)?;
        redact::object(&mut value);
        self.files.push((path.to_owned(), serde_yaml::to_string(&value)?.into_bytes()));
        Ok(())
    }

    fn list(&mut self, path: &str, objects: &[impl Serialize]) -> Result<()> {
        let mut values = Vec::with_capacity(objects.len());
        for object in objects {
            let mut value = serde_json::to_value(object)?;
            redact::object(&mut value);
            values.push(value);
        }
        self.files.push((path.to_owned(), serde_yaml::to_string(&values)?.into_bytes()));
        Ok(())
    }

    /// The objects of a kind, which are also returned.
    async fn objects<K>(&mut self, what: &str, api: Api<K>, params: &ListParams) -> Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
    {
        match find::all(&api, params).await {
            Ok(found) => {
                self.list(&format!("{what}.yaml"), &found)?;
                Ok(found)
            }
            Err(error) => {
                self.missing.push(format!("{what}: {error}"));
                Ok(Vec::new())
            }
        }
    }

    /// What the containers of `pods` say, and said before they were started the last time.
    async fn logs(&mut self, folder: &str, api: &Api<Pod>, pods: &[Pod]) {
        for pod in pods {
            let name = pod.name_any();
            let restarted = pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_deref())
                .is_some_and(|statuses| statuses.iter().any(|status| status.restart_count > 0));
            for (previous, end) in [(false, ""), (true, "-previous")] {
                if previous && !restarted {
                    continue;
                }
                let params = LogParams {
                    previous,
                    tail_lines: Some(LOG_LINES),
                    limit_bytes: Some(LOG_BYTES),
                    timestamps: true,
                    ..LogParams::default()
                };
                match api.logs(&name, &params).await {
                    Ok(log) => self.text(&format!("{folder}log-{name}{end}.txt"), &log),
                    Err(error) => self.missing.push(format!("log of pod {name}{end}: {error}")),
                }
            }
        }
    }

    fn write(&self, folder: &str, now: Timestamp, to: impl Write) -> Result<()> {
        let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::default()));
        let missing = self.missing.join("\n");
        let note = ("missing.txt".to_owned(), redact::text(&missing).into_bytes());
        for (path, content) in self.files.iter().chain((!missing.is_empty()).then_some(&note)) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
            archive.append_data(&mut header, format!("{folder}/{path}"), content.as_slice())?;
        }
        archive.into_inner()?.finish()?.flush()?;
        Ok(())
    }
}
