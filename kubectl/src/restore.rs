//! `kubectl atsign restore`: a server's store becomes what a backup file holds.
//!
//! The server is stopped by `spec.suspend`; a pod in its place, with the same volume and the same restrictions, reads the
//! file from its standard input. It takes the store like a server would, so that of two writers one is refused.

mod pod;

use std::convert::Infallible;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use atsign_crds::AtSign;
use atsign_crds::condition::SUSPENDED;
use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, AttachParams, DeleteParams, LogParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::arguments::Name;
use crate::backup_file::{self, CHUNK, Checked};
use crate::cluster::Cluster;
use crate::outcome::{Outcome, is_not_found};
use crate::output::print;
use crate::{change, cluster, find, server, wait};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  # @alice's data becomes what it was when the backup was made
  kubectl atsign restore alice -f alice.backup

  # on another cluster: make her first
  kubectl create atsign alice --wait
  kubectl atsign restore alice -f alice.backup

The server is stopped, and started again in any case; what it has now is gone then, so make a backup of that first. The file
is checked before anything is touched, and until the last step the store is what it was. Keys, metadata, commit ids,
notifications and enrollments come back as they were.";

/// How often the cluster is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Which one, and from what.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// The file that kubectl atsign backup wrote
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Restore the backup of another atSign too
    #[arg(long)]
    force: bool,
    /// How long the server may take to stop, and to start again, such as 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = wait::seconds)]
    timeout: Duration,
}

/// Restores it.
pub async fn restore(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let doing = || format!("{}: nothing was changed", arguments.file.display());
    let (backup, file) = backup_file::open(&arguments.file).with_context(doing)?;
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let restoring = Restoring {
        pods: cluster.api(),
        name: at_sign.name_any(),
        pod: pod(&cluster, &at_sign, &backup, arguments.force).await?,
        cluster,
        timeout: arguments.timeout,
    };
    eprintln!("{}", backup.sentence());
    let was_suspended = at_sign.spec.suspend.unwrap_or_default();
    let outcome = tokio::select! {
        outcome = restoring.replace(was_suspended, file) => outcome,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(anyhow::Error::from).and_then(|()| {
            bail!("interrupted: the store is what it was, or what the backup holds")
        }),
    };
    // Whatever came of it, nothing of it stays.
    restoring.clear().await?;
    if !was_suspended {
        restoring.suspend(false).await?;
    }
    let outcome = outcome?;
    if outcome != Outcome::Done {
        return Ok(outcome);
    }
    print(&format!("atsign.atsign.dev/{} restored\n", restoring.name))?;
    if was_suspended {
        return Ok(Outcome::Done);
    }
    let Restoring { cluster, name, timeout, .. } = &restoring;
    wait::until(cluster, name, "ready", *timeout, async |at_sign| Ok(find::is_ready(at_sign))).await
}

/// The pod that will do it, if it may be done.
async fn pod(cluster: &Cluster, at_sign: &AtSign, backup: &Checked, force: bool) -> Result<Pod> {
    let (name, flag) = (at_sign.name_any(), cluster.namespace_flag());
    let identity = find::identity(at_sign).with_context(|| format!("AtSign {name} stands for no atSign"))?;
    if backup.manifest.at_sign != identity.as_str() && !force {
        bail!(
            "the backup is of {}, not of {identity}, so nothing was changed; --force restores it nevertheless",
            backup.manifest.at_sign
        );
    }
    if at_sign.spec.image.is_some() {
        bail!("AtSign {name} has another server's image (spec.image), which cannot read such backups");
    }
    if wait::is_paused(at_sign) {
        bail!(
            "the operator leaves AtSign {name} alone, so its server cannot be stopped; see kubectl atsign status {name}{flag}"
        );
    }
    let deployment = cluster.api::<Deployment>().get_opt(&name).await?;
    let deployment = deployment.with_context(|| {
        format!("AtSign {name} has no server yet; why: kubectl atsign status {name}{flag}")
    })?;
    pod::build(at_sign, &identity, &deployment, force)
}

/// A restore under way.
struct Restoring {
    cluster: Cluster,
    pods: Api<Pod>,
    /// Of the AtSign.
    name: String,
    pod: Pod,
    timeout: Duration,
}

impl Restoring {
    /// Stops the server, and has the pod put the backup in place.
    async fn replace(&self, is_suspended: bool, file: File) -> Result<Outcome> {
        // One that was killed may have left its pod.
        self.clear().await?;
        if !is_suspended {
            self.suspend(true).await?;
        }
        let stopped = wait::until(&self.cluster, &self.name, "suspended", self.timeout, async |at_sign| {
            Ok(find::is(at_sign, SUSPENDED) && server::pods(&self.pods, &self.name).await?.is_empty())
        })
        .await?;
        if stopped != Outcome::Done {
            return Ok(stopped);
        }
        self.pods.create(&PostParams::default(), &self.pod).await.context("making the pod that restores")?;
        if !self.started().await? {
            return Ok(Outcome::TimedOut);
        }
        eprintln!("sending the backup to pod {}", self.pod.name_any());
        let parameters =
            AttachParams::default().stdin(true).stdout(false).stderr(false).max_stdin_buf_size(CHUNK);
        let attached = self.pods.attach(&self.pod.name_any(), &parameters).await;
        let mut attached = attached.context("sending the backup (pods/attach)")?;
        let input = attached.stdin().context("the pod takes no input")?;
        let code = tokio::select! {
            code = self.ended() => code?,
            sent = send(file, input) => match sent? {},
        };
        self.verdict(code).await
    }

    async fn suspend(&self, suspend: bool) -> Result<()> {
        let value = if suspend { json!(true) } else { Value::Null };
        change::patch(&self.cluster, &self.name, &json!({"spec": {"suspend": value}})).await?;
        Ok(())
    }

    /// Waits until the pod runs, or has run; false: it did not in time.
    async fn started(&self) -> Result<bool> {
        let start = Instant::now();
        loop {
            let found = self.pods.get(&self.pod.name_any()).await?;
            if pod::has_started(&found) {
                return Ok(true);
            }
            if start.elapsed() >= self.timeout {
                eprintln!("pod {} does not start: {}", found.name_any(), pod::waits_for(&found));
                return Ok(false);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Waits until the pod has ended, and returns its exit code.
    async fn ended(&self) -> Result<i32> {
        loop {
            let found = self.pods.get_opt(&self.pod.name_any()).await?;
            let found = found.context("the pod that restores was deleted by somebody")?;
            if let Some(code) = pod::exit_code(&found) {
                return Ok(code);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// What came of it, in the pod's own words.
    async fn verdict(&self, code: i32) -> Result<Outcome> {
        let log = self.pods.logs(&self.pod.name_any(), &LogParams::default()).await.unwrap_or_default();
        let says = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        let says = says.trim_start_matches("atsign-secondary: ");
        if code != 0 {
            bail!("the store is what it was; the restore ended with {code}: {says}");
        }
        eprintln!("{says}");
        Ok(Outcome::Done)
    }

    /// Removes the pod, and returns once it is gone.
    async fn clear(&self) -> Result<()> {
        let name = self.pod.name_any();
        match self.pods.delete(&name, &DeleteParams::default()).await {
            Err(error) if is_not_found(&error) => return Ok(()),
            deleted => drop(deleted?),
        }
        let start = Instant::now();
        while self.pods.get_opt(&name).await?.is_some() {
            if start.elapsed() >= self.timeout {
                bail!("pod {name} does not go away; when it has: kubectl atsign resume {}", self.name);
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }
}

/// Sends the file, and keeps the pod's input open behind it: the pod knows itself how much there is. One that takes no more
/// of it has ended, and says why.
async fn send(mut file: File, mut to: impl AsyncWrite + Unpin) -> Result<Infallible> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk).context("reading the backup")?;
        if count == 0 || to.write_all(&chunk[..count]).await.is_err() {
            let _ = to.flush().await;
            return std::future::pending().await;
        }
    }
}
