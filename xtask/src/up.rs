//! `cargo xtask up`: from an empty machine to a running, proven atSign.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::cluster::{self, Cluster};
use crate::host;
use crate::progress::{step, wait_until};
use crate::servers::{self, repository};
use crate::target::Target;

/// Where the operator lives; also the chart's and the release's name.
const NAMESPACE: &str = "atsign-system";
const RELEASE: &str = "atsign-operator";

/// Options of `up`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The embedded cluster's name; each name is a cluster of its own
    #[arg(long, default_value = "atsign")]
    name: String,
    /// Bring up no more than this
    #[arg(long, value_enum)]
    only: Option<Stage>,
    /// Use the cluster of this kubeconfig instead of the embedded one
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Use the cluster of this context instead of the embedded one
    #[arg(long)]
    context: Option<String>,
    /// Where the cluster of --kubeconfig or --context finds the three images: PREFIX/atsign-operator, …
    #[arg(long, value_name = "PREFIX", requires = "tag")]
    image_prefix: Option<String>,
    /// The images' tag there
    #[arg(long, requires = "image_prefix")]
    tag: Option<String>,
}

/// How far `up` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// Kubernetes with DNS and NFS volumes
    Cluster,
    /// That, and the operator and the directory, but no atSign
    Operator,
}

/// Brings everything up and proves it.
///
/// # Errors
/// A step failed; the error says what to do.
pub(crate) fn up(options: Options) -> Result<()> {
    let cluster = Cluster::named(&options.name)?;
    if options.kubeconfig.is_some() || options.context.is_some() {
        ensure!(
            options.only != Some(Stage::Cluster),
            "--only cluster is about the embedded cluster: without --kubeconfig and --context"
        );
        let images = given_images(&options, &cluster)?;
        let target = Target::given(options.kubeconfig, options.context, &cluster)?;
        install(&target, &images)?;
        if options.only.is_none() {
            alice(&target, &images)?;
            what_next(&target)?;
        }
        return Ok(());
    }

    let _only_me = cluster.lock()?;
    cluster::up(&cluster)?;
    let target = Target::Embedded(cluster.clone());
    if options.only == Some(Stage::Cluster) {
        return Ok(());
    }
    let binaries = servers::build()?;
    let images = operator(&cluster, &binaries)?;
    if options.only.is_none() {
        alice(&target, &images)?;
        prove(&cluster)?;
        servers::install_plugin(&cluster)?;
        what_next(&target)?;
    }
    Ok(())
}

/// Images into the embedded cluster, and the chart installed with them.
///
/// # Errors
/// An image cannot be built or imported, or the operator does not become available.
pub(crate) fn operator(cluster: &Cluster, binaries: &Path) -> Result<Vec<Image>> {
    let images = step("images", "operator, secondary, directory", || {
        let images = servers::images(binaries, &cluster.state().join("images"), None)?;
        servers::import(cluster, &images)?;
        Ok(images)
    })?;
    let images: Vec<_> =
        images.into_iter().map(|image| (image.server, "docker.io/library".to_owned(), image.tag)).collect();
    install(&Target::Embedded(cluster.clone()), &images)?;
    Ok(images)
}

/// Changes one value of the chart that is installed, and waits until the operator follows it.
///
/// # Errors
/// The chart does not know the value, or the operator does not become available.
pub(crate) fn set(cluster: &Cluster, value: &str) -> Result<()> {
    let chart = repository().join("charts").join(RELEASE);
    step("operator", &format!("installing the chart again with {value}"), || {
        let mut helm = Target::Embedded(cluster.clone()).helm();
        helm.args(["upgrade", RELEASE]).arg(&chart).args(["--namespace", NAMESPACE, "--reuse-values"]);
        helm.args(["--set", value, "--wait", "--timeout", "120s"]);
        run(&mut helm)
    })
}

/// An image by its server, prefix and tag.
pub(crate) type Image = (&'static str, String, String);

/// What a cluster that is not ours can pull. Nothing is pushed from here: where to is the user's to know.
fn given_images(options: &Options, cluster: &Cluster) -> Result<Vec<Image>> {
    if let (Some(prefix), Some(tag)) = (&options.image_prefix, &options.tag) {
        return Ok(servers::SERVERS.map(|server| (server, prefix.clone(), tag.clone())).into());
    }
    let folder = cluster.cache().join("images");
    let images = servers::images(&servers::build()?, &folder, Some("dev"))?;
    let load = images.iter().fold(String::new(), |lines, image| {
        format!("{lines}\n  kind load image-archive {}", image.archive.display())
    });
    bail!(
        "this cluster cannot see the images of this machine, which are now in {}. Bring them there, with kind for \
         example:{load}\nor push them to its registry, then run this again with --image-prefix and --tag: where they \
         are. As loaded above that is --image-prefix docker.io/library --tag dev",
        folder.display()
    )
}

fn install(target: &Target, images: &[Image]) -> Result<()> {
    let chart = repository().join("charts").join(RELEASE);
    let look_at = format!("{} -n {NAMESPACE} describe pods", target.typed_kubectl());
    step("operator", "installing the chart, waiting until operator and directory are available", || {
        let mut helm = target.helm();
        helm.args(["upgrade", "--install", RELEASE]).arg(&chart);
        helm.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s"]);
        for (server, prefix, tag) in images {
            let part = server.trim_start_matches("atsign-");
            helm.args(["--set-string", &format!("{part}.image.repository={prefix}/{server}")]);
            helm.args(["--set-string", &format!("{part}.image.tag={tag}")]);
        }
        run(&mut helm).with_context(|| format!("the chart is not installed; look at {look_at}"))
    })
}

/// Applies the example and waits for it, showing what it says meanwhile.
fn alice(target: &Target, images: &[Image]) -> Result<()> {
    let secondary = images.iter().find(|(server, ..)| *server == "atsign-secondary");
    let image = secondary.map(|(server, prefix, tag)| format!("{prefix}/{server}:{tag}")).unwrap_or_default();
    let example = repository().join("examples/alice.yaml");
    step("alice", "applying examples/alice.yaml, waiting until AtSign/alice is Ready", || {
        let mut apply = target.kubectl();
        run(apply.args(["apply", "-f"]).arg(&example))?;
        let look_at = format!("`{} describe atsign alice`", target.typed_kubectl());
        let mut shown = String::new();
        wait_until("AtSign/alice is Ready", Duration::from_mins(3), &look_at, || {
            let asked = target.kubectl().args(["get", "atsign", "alice", "-o", "json"]).output()?;
            let object: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let says = summary(&conditions);
            if says != shown {
                eprintln!("{:>12}  {says}", "");
                shown = says;
            }
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            Ok(current && ready && runs_image(target, &image)?)
        })
    })
}

/// Whether @alice's server, which may be there since an earlier `up`, has been replaced by this one.
fn runs_image(target: &Target, image: &str) -> Result<bool> {
    let pods = "jsonpath={range .items[*].spec.containers[*]}{.image} {end}";
    let selector = "app.kubernetes.io/instance=alice";
    let asked = target.kubectl().args(["get", "pods", "-l", selector, "-o", pods]).output()?;
    Ok(String::from_utf8_lossy(&asked.stdout).split_whitespace().eq([image]))
}

/// The conditions in a line: `Ready=False (WaitingForPod) …`.
fn summary(conditions: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words = conditions.iter().filter(|c| c["type"] == "Ready" || c["status"] == "True").map(|c| {
        format!(
            "{}={} ({}: {})",
            text(&c["type"]),
            text(&c["status"]),
            text(&c["reason"]),
            text(&c["message"])
        )
    });
    words.collect::<Vec<_>>().join("  ")
}

/// In a process of its own, because it must be inside the cluster's network to reach Services.
fn prove(cluster: &Cluster) -> Result<()> {
    step("proof", "resolving @alice, logging in, writing and reading over TLS", || {
        let own = host::own_program()?;
        let proved = cluster::inside(cluster, own).args(["prove", "default", "alice"]).status()?;
        ensure!(
            proved.success(),
            "@alice does not work yet; look at `cargo xtask kubectl logs deploy/alice`"
        );
        Ok(())
    })
}

fn what_next(target: &Target) -> Result<()> {
    let kubectl = target.typed_kubectl();
    eprintln!();
    let shown = target.kubectl().args(["get", "atsigns"]).status()?;
    ensure!(shown.success(), "kubectl get atsigns failed");
    eprintln!("\n@alice runs. What to try next:");
    if let Target::Embedded(_) = target {
        eprintln!(
            "  {kubectl} create atsign bob --wait       another one
  {kubectl} atsign status alice            all about her, and what to do
  {kubectl} atsign activate alice          her keys, for an SDK, into ~/.atsign/keys"
        );
    }
    eprintln!(
        "  {kubectl} describe atsign alice          what the operator did
  {kubectl} explain atsign.spec            what an AtSign can be
  {kubectl} apply -f examples/tiers.yaml   sizes to choose from
  {kubectl} logs deploy/alice --follow     what her server says
  {kubectl} get secret alice-activation -o jsonpath='{{.data.cram}}' | base64 -d
                                           the secret for an SDK's first login"
    );
    if let Target::Embedded(cluster) = target {
        let name = match cluster.name() {
            "atsign" => String::new(),
            name => format!(" --name {name}"),
        };
        eprintln!(
            "  cargo xtask enter{name} -- bash                a shell inside the cluster's network
  cargo xtask down{name}                         takes everything away"
        );
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("starting it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
