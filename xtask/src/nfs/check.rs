//! Shows that the embedded cluster's NFS is one: server, mount helper and provisioner, without a cluster; and what our
//! own server's store promises on it.
//!
//! The mounts' promises are Go tests beside the helper (`mounted_test.go`); they run as a pod does, as uid 65532, and
//! ask for crashes of the server, which is root's.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{PROGRAMS, Server, mount, stores};

/// Who runs in the cluster's pods.
const POD_USER: u32 = 65532;

/// Runs all checks in a network namespace of their own and returns how many passed.
///
/// # Errors
/// The first that fails, or what kept the checks from running: not root, no Go, no packages.
pub(crate) fn check(cache: &Path) -> Result<u64> {
    PROGRAMS.prepare(cache)?;
    let mut passed =
        go_tests("nfs-provisioner")?.run(|tests| Command::new(tests), |_| bail!("there is no server"))?;
    let bench = Bench::new(cache)?;
    bench.root_is_squashed()?;
    bench.other_types_are_mounted_by_the_machine()?;
    passed += 2;
    passed += stores::check(&bench.path("stores"), &bench.server)?;
    passed += go_tests("nfs-mount")?.run(|tests| bench.as_a_pod(tests), |wish| bench.hurt(wish))?;
    bench.daemons_end_with_the_unmount()?;
    Ok(passed + 1)
}

/// An NFS server in a network namespace, and two mounts of a folder of its export.
struct Bench {
    server: Server,
    folder: TempDir,
}

impl Bench {
    fn new(cache: &Path) -> Result<Self> {
        let netns = format!("nfs-check-{}", std::process::id());
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o711)).tempdir()?;
        let server = Server {
            netns: netns.clone(),
            ip: [192, 0, 2, 1].into(),
            state: folder.path().to_owned(),
            cache: cache.to_owned(),
        };
        let bench = Self { server, folder };
        run(Command::new("ip").args(["netns", "add", &netns]))?;
        run(Command::new("ip").args(["-n", &netns, "link", "set", "lo", "up"]))?;
        run(Command::new("ip").args(["-n", &netns, "address", "add", "192.0.2.1/32", "dev", "lo"]))?;
        bench.server.start()?;

        let claim = bench.server.export().join("claim");
        fs::create_dir(&claim)?;
        fs::set_permissions(&claim, Permissions::from_mode(0o770))?;
        chown(&claim, Some(POD_USER), Some(POD_USER))?;
        mount::install(cache, &bench.path("sbin"))?;
        let stores = stores::folder(&bench.server.export())?;
        for (name, folder) in [("a", &claim), ("b", &claim), ("stores", &stores)] {
            fs::create_dir(bench.path(name))?;
            let export = format!("{}:{}", bench.server.ip, folder.display());
            bench.mount(&["-t", "nfs", "-o", "nfsvers=3,hard,nolock", &export], name)?;
        }
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the kubelet does, its `PATH` beginning with our `mount`.
    fn mount(&self, options: &[&str], name: &str) -> Result<()> {
        run(Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.server.netns))
            .arg("mount")
            .args(options)
            .arg(self.path(name))
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("sbin").display()))
            .env(mount::LOG, self.path("mount.log")))
    }

    fn as_a_pod(&self, tests: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={POD_USER}"), &format!("--regid={POD_USER}"), "--clear-groups", "--"])
            .arg(tests)
            .env("NFS_A", self.path("a"))
            .env("NFS_B", self.path("b"));
        command
    }

    fn hurt(&self, wish: &str) -> Result<()> {
        match wish {
            "crash" => {
                ensure!(self.server.signal(Signal::KILL), "the server does not run");
                // Its write verifier is the second in which it starts: another run, another second.
                sleep(Duration::from_millis(1100));
                self.server.start()
            }
            "hang" => {
                ensure!(self.server.signal(Signal::STOP), "the server does not run");
                let server = self.server.clone();
                std::thread::spawn(move || {
                    sleep(Duration::from_secs(1));
                    server.signal(Signal::CONT)
                });
                Ok(())
            }
            other => bail!("no idea how to {other} a server"),
        }
    }

    fn root_is_squashed(&self) -> Result<()> {
        for attempt in [fs::create_dir(self.path("a/mine")), fs::read_dir(self.path("a")).map(drop)] {
            let refused = attempt.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
            ensure!(refused, "root may use a folder of uid {POD_USER}: {attempt:?}");
        }
        Ok(())
    }

    fn other_types_are_mounted_by_the_machine(&self) -> Result<()> {
        fs::create_dir(self.path("memory"))?;
        self.mount(&["-t", "tmpfs", "-o", "size=1m", "none"], "memory")?;
        let table = fs::read_to_string("/proc/self/mounts")?;
        let line = format!(" {} tmpfs ", self.path("memory").display());
        ensure!(table.contains(&line), "no{line}in the mount table");
        unmount(self.path("memory"), UnmountFlags::empty())?;
        Ok(())
    }

    fn daemons_end_with_the_unmount(&self) -> Result<()> {
        for name in ["a", "b", "stores"] {
            ensure!(is_served(&self.path(name))?, "nobody serves {name}");
            unmount(self.path(name), UnmountFlags::empty())?;
            let deadline = Instant::now() + Duration::from_secs(20);
            while is_served(&self.path(name))? {
                ensure!(Instant::now() < deadline, "the mount helper outlives the mount {name}");
                sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for name in ["a", "b", "stores", "memory"] {
            let _ = unmount(self.path(name), UnmountFlags::DETACH);
        }
        let _ = self.server.stop();
        let _ = run(Command::new("ip").args(["netns", "delete", &self.server.netns]));
    }
}

/// Whether a process `mount.nfs … folder` lives.
fn is_served(folder: &Path) -> Result<bool> {
    for process in fs::read_dir("/proc")? {
        let words = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|&byte| byte == 0).collect();
        if words.first() == Some(&b"mount.nfs".as_slice())
            && words.contains(&folder.as_os_str().as_encoded_bytes())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The compiled tests of a Go module under `xtask/cluster/`, where any user can execute them.
struct GoTests {
    folder: TempDir,
}

fn go_tests(module: &str) -> Result<GoTests> {
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir()?;
    run(Command::new("go")
        .args(["test", "-c", "-trimpath", "-o"])
        .arg(folder.path().join("tests"))
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(module))
        .env("CGO_ENABLED", "0"))?;
    Ok(GoTests { folder })
}

impl GoTests {
    /// Runs every test with the command that `command` makes of the program, grants each line `please: <wish>`, and
    /// returns how many passed. A test that was skipped did not show anything, so it fails.
    fn run(&self, command: impl FnOnce(&Path) -> Command, grant: impl Fn(&str) -> Result<()>) -> Result<u64> {
        let mut tests = command(&self.folder.path().join("tests"))
            .args(["-test.v", "-test.timeout=5m"])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("running Go tests")?;
        let (mut answers, output) =
            (tests.stdin.take().context("no stdin")?, tests.stdout.take().context("no stdout")?);
        let (mut passed, mut said) = (0, String::new());
        for line in BufReader::new(output).lines() {
            let line = line?;
            if let Some(wish) = line.strip_prefix("please: ") {
                if let Err(error) = grant(wish) {
                    tests.kill()?;
                    tests.wait()?;
                    return Err(error).with_context(|| format!("the tests asked for a {wish}"));
                }
                writeln!(answers, "done")?;
            }
            passed += u64::from(line.starts_with("--- PASS"));
            said.push_str(&line);
            said.push('\n');
        }
        let ended = tests.wait()?;
        ensure!(ended.success() && passed > 0 && !said.contains("--- SKIP"), "Go tests failed:\n{said}");
        Ok(passed)
    }
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("running {program}"))?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
