//! The NFS server of the embedded cluster: nfs-ganesha, and the portmapper that it registers with.
//!
//! Both share a mount namespace of their own. There `/run` is a folder of ours, so the portmapper's socket is not the
//! machine's; and mounts made later, pods' volumes from this very server among them, never reach it: a server that
//! looked at its own clients' mounts would wait for itself.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::daemon::Daemon;

const PORTMAPPER_PORT: u16 = 111;
const NFS_PORT: u16 = 2049;
const MOUNT_PORT: u16 = 20048;

/// An NFS server for one cluster: NFSv3 and v4 over TCP, with root squashed to 65534, as an ordinary export is.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// The name of the network namespace it listens in, as under `/run/netns`.
    pub(crate) netns: String,
    /// The address it listens on there.
    pub(crate) ip: Ipv4Addr,
    /// The cluster's state: the server keeps everything in `nfs/` below it, its pid in `nfs/ganesha.nfsd.pid`.
    pub(crate) state: PathBuf,
    /// Where [`super::PROGRAMS`] put the programs.
    pub(crate) cache: PathBuf,
}

impl Server {
    /// What clients mount, a folder with the same path on this machine: `<ip>:<export>`. Root owns it with mode 0755,
    /// so a client makes nothing at its top; the machine's root makes folders there for others.
    pub(crate) fn export(&self) -> PathBuf {
        self.folder().join("export")
    }

    /// Starts what does not run yet and returns when the server answers. After a crash the export is as it was.
    ///
    /// # Errors
    /// A program does not start; the error ends with the last lines of its log.
    pub(crate) fn start(&self) -> Result<()> {
        let run = self.folder().join("run");
        for folder in [&run, &self.export(), &self.folder().join("recovery")] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        ensure!(!run.starts_with("/run"), "the NFS server hides /run from itself: no state can be there");
        fs::set_permissions(self.export(), fs::Permissions::from_mode(0o755))?;
        let programs = super::PROGRAMS.folder(&self.cache);
        let word = |path: PathBuf| path.display().to_string();

        let (rpcbind, ganesha) = (self.rpcbind(), self.ganesha());
        if rpcbind.pid().is_none() {
            // A server that lives in the old portmapper's mount namespace is not registered with the new one.
            ganesha.stop()?;
            let mut entering = self.network();
            entering.extend(["unshare", "--mount", "--propagation", "private"].map(str::to_owned));
            let hide = format!(
                "umount --all --lazy --types fuse.nfs || true\nmount --bind '{}' /run\nrm -f /run/rpcbind.*",
                run.display()
            );
            // -s: as user daemon, which exists everywhere; Debian's own user comes with the installed package.
            rpcbind.spawn(
                &entering,
                &hide,
                &[word(programs.join("sbin/rpcbind")), "-f".into(), "-s".into()],
            )?;
        }
        rpcbind.wait_for_port(PORTMAPPER_PORT)?;
        if ganesha.pid().is_none() {
            let configuration = self.folder().join("ganesha.conf");
            fs::write(&configuration, self.configuration(&programs)?)?;
            let portmapper = rpcbind.pid().context("rpcbind ended")?.as_raw_nonzero();
            let mut entering = self.network();
            entering.push(format!("--mount=/proc/{portmapper}/ns/mnt"));
            let libraries =
                format!("export LD_LIBRARY_PATH='{}'", programs.join("usr/lib/ganesha").display());
            let command = [
                word(programs.join("usr/bin/ganesha.nfsd")),
                "-F".into(),
                "-f".into(),
                word(configuration),
                "-L".into(),
                word(ganesha.log.clone()),
                "-p".into(),
                word(self.folder().join("run/ganesha.lock")),
            ];
            ganesha.spawn(&entering, &libraries, &command)?;
        }
        ganesha.wait_for_port(MOUNT_PORT)?;
        ganesha.wait_for_port(NFS_PORT)
    }

    /// Ends the server and the portmapper; the data stays.
    ///
    /// # Errors
    /// One survives SIGKILL.
    pub(crate) fn stop(&self) -> Result<()> {
        self.ganesha().stop()?;
        self.rpcbind().stop()
    }

    /// Hurts the server: `KILL` as a crash (then [`Server::start`] again), `STOP` and `CONT` as a hang. False if it
    /// does not run.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.ganesha().signal(signal)
    }

    fn folder(&self) -> PathBuf {
        self.state.join("nfs")
    }

    fn ganesha(&self) -> Daemon {
        Daemon::new("ganesha.nfsd", &self.folder())
    }

    fn rpcbind(&self) -> Daemon {
        Daemon::new("rpcbind", &self.folder())
    }

    fn network(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.netns)]
    }

    /// The options that the server needs here are explained where they are not obvious; see ganesha-core-config(8).
    fn configuration(&self, programs: &Path) -> Result<String> {
        let (ip, folder, export) = (self.ip, self.folder(), self.export());
        let (folder, export) = (folder.display(), export.display());
        let plugins = plugins(programs)?;
        let plugins = plugins.display();
        Ok(format!(
            r#"NFS_CORE_PARAM {{
    Plugins_Dir = "{plugins}"; Bind_addr = {ip}; NFS_Port = {NFS_PORT}; MNT_Port = {MOUNT_PORT};
    Protocols = 3, 4; Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false; fsid_device = true;
}}
NFSv4 {{
    # UseGetpwnam: without it the mapper of names asks a service that is not there, and the server ends.
    UseGetpwnam = true; Allow_Numeric_Owners = true; Only_Numeric_Owners = true; Minor_Versions = 1, 2;
    Graceless = false; Grace_Period = 5; Lease_Lifetime = 5; RecoveryBackend = "fs"; RecoveryRoot = "{folder}/recovery";
}}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{
    Export_Id = 1; Path = "{export}"; Pseudo = "{export}"; FSAL {{ Name = VFS; }}
    Access_Type = RW; Squash = Root_Squash; Anonymous_Uid = 65534; Anonymous_Gid = 65534;
    SecType = sys; Protocols = 3, 4; Transports = TCP;
}}
"#
        ))
    }
}

/// The folder of the server's back ends, whose path has the machine's architecture in it.
fn plugins(programs: &Path) -> Result<PathBuf> {
    let libraries = programs.join("usr/lib");
    for entry in fs::read_dir(&libraries).with_context(|| format!("reading {}", libraries.display()))? {
        let plugins = entry?.path().join("ganesha");
        if plugins.join("libfsalvfs.so").exists() {
            return Ok(plugins);
        }
    }
    anyhow::bail!("no libfsalvfs.so below {}", libraries.display())
}
