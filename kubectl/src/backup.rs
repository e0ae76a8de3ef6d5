//! `kubectl atsign backup`: everything that a server has, as a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use atsign_protocol::backup::Manifest;
use clap::Args;
use kube::ResourceExt as _;

use crate::admin_port::AdminPort;
use crate::arguments::Name;
use crate::backup_file::{Checked, NewFile, receive};
use crate::outcome::Outcome;
use crate::output::print;
use crate::{cluster, find};

/// For `--help`.
pub const EXAMPLES: &str = "\
Examples:
  # everything of @alice into a file; her server goes on serving
  kubectl atsign backup alice -o alice.backup

  # encrypted on its way, never in plain on this disk
  kubectl atsign backup alice -o - | age -r age1... > alice.backup.age

It holds keys, metadata, the commit log, notifications, enrollments and the server's own secrets. Values are encrypted by
the clients; the activation secret is not, so keep the file as you keep the volume. What is printed can be checked later
by sha256sum -c. kubectl atsign restore brings it back.";

/// How often the server is asked whether the backup is made.
const INTERVAL: Duration = Duration::from_millis(500);

/// Which one, and where to.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    #[command(flatten)]
    name: Name,
    /// The file to write, - for standard output [default: NAME-TIME.backup]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How many backups stay on the atSign's volume, this one included [default: 7]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
}

/// Makes it and brings it here.
pub async fn backup(cluster: &cluster::Arguments, arguments: &Arguments) -> Result<Outcome> {
    let cluster = cluster.connect().await?;
    let at_sign = find::at_sign(&cluster, &arguments.name.name).await?;
    let (name, flag) = (at_sign.name_any(), cluster.namespace_flag());
    if at_sign.spec.image.is_some() {
        bail!("AtSign {name} has another server's image (spec.image), which makes no such backups");
    }
    if at_sign.spec.suspend.unwrap_or_default() {
        bail!(
            "AtSign {name} is suspended, and only a server makes backups; to start it: kubectl atsign resume {name}{flag}"
        );
    }
    // Before the server is troubled.
    let mut file = match arguments.output.as_deref() {
        Some(path) if path == Path::new("-") => None,
        Some(path) => Some((path.to_owned(), NewFile::begin(path)?)),
        None => {
            let path =
                PathBuf::from(format!("{name}-{}.backup", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
            Some((path.clone(), NewFile::begin(&path)?))
        }
    };
    let work = async {
        let admin = AdminPort::open(&cluster, &name).await?;
        eprintln!("the server of {} makes a backup and checks it", find::shown(&at_sign));
        let made = make(&admin, arguments.keep).await?;
        fetch(&admin, &made, file.as_mut().map(|(_, file)| file)).await
    };
    let made = tokio::select! {
        made = work => made?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted; nothing was written");
        }
    };
    eprintln!("{}", made.sentence());
    match file {
        Some((path, file)) => {
            file.finish().with_context(|| format!("writing {}", path.display()))?;
            print(&format!("{}  {}\n", made.sha256, path.display()))?;
        }
        None => eprintln!("sha256 {}", made.sha256),
    }
    Ok(Outcome::Done)
}

/// Has the server make one, which it checks, and waits for it.
async fn make(admin: &AdminPort, keep: Option<u32>) -> Result<Manifest> {
    let path = keep.map_or("/backup".to_owned(), |keep| format!("/backup?keep={keep}"));
    let mut answer = admin.ask("POST", &path).await?;
    while answer.status == 202 {
        tokio::time::sleep(INTERVAL).await;
        answer = admin.ask("GET", "/backup").await?;
    }
    let status = answer.status;
    let text = answer.text().await?;
    if status != 200 {
        bail!("the server made no backup: {}", text.trim());
    }
    Manifest::parse(text.as_bytes()).context("what the server says of its backup")
}

async fn fetch(admin: &AdminPort, made: &Manifest, file: Option<&mut NewFile>) -> Result<Checked> {
    let mut answer = admin.ask("GET", &format!("/backup?name={}", made.name)).await?;
    if answer.status != 200 {
        bail!("the server does not send its backup: {}", answer.text().await?.trim());
    }
    let mut stdout = std::io::stdout();
    let to: &mut dyn Write = match file {
        Some(file) => file,
        None => &mut stdout,
    };
    let received = receive(&mut answer.body, to).await?;
    to.flush()?;
    Ok(received)
}
