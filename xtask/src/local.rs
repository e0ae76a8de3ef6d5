//! `cargo xtask local`: the directory and demo atSigns as plain processes on this machine, without Kubernetes.

mod authority;
mod demo;
mod onboarding;
mod process;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use atsign_protocol::AtSign;
use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cluster::states;
use crate::progress::step;
use crate::servers;
use process::Process;

/// Options of `local`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The atSigns; each gets a server [default: @alice @bob @colin]
    #[arg(value_name = "ATSIGN", conflicts_with = "demo")]
    at_signs: Vec<String>,
    /// The reference's demo environment: its twenty atSigns, their ports, the directory at port 64, the host
    /// vip.ve.atsign.zone
    #[arg(long)]
    demo: bool,
    /// The directory's port [default: 6400; with --demo 64, which not everybody may listen on]
    #[arg(long, value_name = "PORT")]
    directory_port: Option<u16>,
    /// The port of the first atSign's server; the others follow
    #[arg(long, value_name = "PORT", default_value = "25000")]
    first_port: u16,
    /// Run the optimised servers
    #[arg(long)]
    release: bool,
    /// Run the servers of this folder instead of building them
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    binaries: Option<PathBuf>,
}

/// An atSign's server, as it is to run.
#[derive(Debug)]
struct Member {
    at_sign: AtSign,
    port: u16,
    /// What is kept of it: the activation secret, the data.
    folder: PathBuf,
    /// The keys that SDKs read.
    keys: PathBuf,
}

/// Where all of it is kept, and how it is reached.
#[derive(Debug)]
struct Environment {
    folder: PathBuf,
    /// The name that the directory gives out.
    host: &'static str,
    directory_port: u16,
    members: Vec<Member>,
}

/// Starts everything, onboards who is new, and serves until Ctrl-C.
///
/// # Errors
/// Something cannot be built or started, or a server ended; the error says what it said.
pub(crate) fn local(options: &Options) -> Result<()> {
    let environment = Environment::new(options, &states()?.join("local"))?;
    fs::create_dir_all(&environment.folder)?;
    let lock = File::create(environment.folder.join("lock"))?;
    ensure!(lock.try_lock().is_ok(), "it runs already: end the other `cargo xtask local` with Ctrl-C first");
    let binaries = match &options.binaries {
        Some(folder) => folder.clone(),
        None => servers::build_for_here(options.release)?,
    };
    authority::ensure(&environment.folder)?;
    let mut processes = environment.start(&binaries)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    environment.onboard(&mut processes, &runtime)?;
    environment.tell();
    // Before this Ctrl-C just ends us, and so the servers.
    runtime.block_on(process::until_interrupted(&mut processes))?;
    eprintln!("{:>12}  the servers are told to end", "Ctrl-C");
    Ok(())
}

impl Environment {
    fn new(options: &Options, folder: &Path) -> Result<Self> {
        let (host, names): (_, Vec<(&str, u16)>) = if options.demo {
            (demo::HOST, demo::AT_SIGNS.to_vec())
        } else {
            let given: Vec<&str> = options.at_signs.iter().map(String::as_str).collect();
            let names = if given.is_empty() { vec!["@alice", "@bob", "@colin"] } else { given };
            ("localhost", names.into_iter().zip(options.first_port..).collect())
        };
        let members = names
            .into_iter()
            .map(|(name, port)| {
                let at_sign = AtSign::parse(name).with_context(|| format!("{name:?} is no atSign"))?;
                Ok(Member {
                    folder: folder.join("servers").join(at_sign.name()),
                    keys: folder.join("keys").join(format!("{at_sign}_key.atKeys")),
                    at_sign,
                    port,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let directory_port = options.directory_port.unwrap_or(if options.demo { demo::PORT } else { 6400 });
        Ok(Self { folder: folder.to_owned(), host, directory_port, members })
    }

    /// Starts the directory and the servers; they end with the result.
    fn start(&self, binaries: &Path) -> Result<Vec<Process>> {
        let lines = self.members.iter().map(|m| format!("{} {}:{}\n", m.at_sign, self.host, m.port));
        let addresses = self.folder.join("addresses");
        fs::write(&addresses, lines.collect::<Vec<_>>().concat())?;
        let (certificate, key) = (self.folder.join("tls.crt"), self.folder.join("tls.key"));

        let logs = self.folder.join("log");
        let mut processes = Vec::new();
        let directory = [
            ("--listen", format!("127.0.0.1:{}", self.directory_port)),
            ("--admin-listen", "127.0.0.1:0".to_owned()),
            ("--file", addresses.display().to_string()),
            ("--tls-cert", certificate.display().to_string()),
            ("--tls-key", key.display().to_string()),
            ("--drain", "0".to_owned()),
        ];
        processes.push(Process::start("directory", &binaries.join("atsign-directory"), directory, &logs)?);
        for member in &self.members {
            let data = member.folder.join("data");
            fs::create_dir_all(&data)?;
            let secret = onboarding::secret(&member.folder)?;
            let secondary = [
                ("--at-sign", member.at_sign.to_string()),
                ("--listen", format!("127.0.0.1:{}", member.port)),
                ("--admin-listen", "127.0.0.1:0".to_owned()),
                ("--shared-secret-file", secret.display().to_string()),
                ("--storage-dir", data.display().to_string()),
                ("--tls-cert", certificate.display().to_string()),
                ("--tls-key", key.display().to_string()),
                ("--peer-ca", self.ca().display().to_string()),
                ("--directory", format!("localhost:{}", self.directory_port)),
            ];
            let program = binaries.join("atsign-secondary");
            processes.push(Process::start(member.at_sign.name(), &program, secondary, &logs)?);
        }
        Ok(processes)
    }

    /// Waits until all of them answer, gives keys to those that have none, and logs in with those of the others.
    fn onboard(&self, processes: &mut [Process], runtime: &tokio::runtime::Runtime) -> Result<()> {
        let ca = fs::read_to_string(self.ca())?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let doing = format!("the directory and {} servers", self.members.len());
        step("starting", &doing, || {
            let ports = std::iter::once(self.directory_port).chain(self.members.iter().map(|m| m.port));
            processes.iter_mut().zip(ports).try_for_each(|(process, port)| process.wait_for(port, &ca))
        })?;
        let new = self.members.iter().filter(|member| !member.keys.exists()).count();
        let doing = format!("{new} new atSigns, {} that have keys", self.members.len() - new);
        step("onboarding", &doing, || {
            fs::create_dir_all(self.folder.join("keys"))?;
            self.members.iter().try_for_each(|member| {
                runtime
                    .block_on(onboarding::ensure_keys(member, &roots))
                    .with_context(|| format!("onboarding {}", member.at_sign))
            })
        })
    }

    fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// How to connect.
    fn tell(&self) {
        println!("\nThe directory is at {}:{}. It knows:\n", self.host, self.directory_port);
        for member in &self.members {
            println!(
                "  {:<16} {}:{:<6} {}",
                member.at_sign.as_str(),
                self.host,
                member.port,
                member.keys.display()
            );
        }
        let keys = self.folder.join("keys");
        println!("\nTo use them with an SDK:\n");
        println!("  export SSL_CERT_FILE={}", self.ca().display());
        println!("  mkdir -p ~/.atsign/keys && cp {}/*.atKeys ~/.atsign/keys/", keys.display());
        println!("\nAs in Python (pip install atsdk):\n");
        println!("  from at_client import AtClient");
        println!("  from at_client.common import AtSign");
        println!("  from at_client.connections.address import Address");
        if let Some(first) = self.members.first() {
            let (name, host, port) = (&first.at_sign, self.host, self.directory_port);
            println!("  AtClient(AtSign(\"{name}\"), root_address=Address(\"{host}\", {port}))");
        }
        if !process::is_this_machine(self.host) {
            println!("\n{0} is not this machine: add the line `127.0.0.1 {0}` to /etc/hosts.", self.host);
        }
        println!(
            "\nLogs: {}. Ctrl-C ends all of it; what was stored stays.",
            self.folder.join("log").display()
        );
        // Whoever reads this through a pipe waits for it.
        let _ = std::io::Write::flush(&mut std::io::stdout());
    }
}

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
