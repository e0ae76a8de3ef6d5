//! The servers as processes of ours: they end with us, however we end.

use std::fs::{self, File};
use std::net::ToSocketAddrs as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use atsign_tests::client::Client;
use tokio::signal::unix::{SignalKind, signal};

use super::PATIENCE;
use crate::cluster::tools::last_lines;

/// Runs its arguments, and tells them to end when standard input ends: only we hold the other side of it.
const GUARD: &str = r#"exec 3<&0; "$@" </dev/null 3<&- & child=$!
(cat <&3 >/dev/null; kill -TERM $child 2>/dev/null) & exec 3<&-; wait $child"#;

/// A running server. Dropped, it is told to end and waited for.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    guard: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with flags and their values; what it prints goes to a file in `logs`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start<const N: usize>(
        name: &str,
        program: &Path,
        flags: [(&str, String); N],
        logs: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(logs)?;
        let log = logs.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(program)
            .args(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C at the terminal is for us; we tell them.
            .process_group(0)
            .spawn()
            .context("starting sh")?;
        Ok(Self { name: name.to_owned(), guard, log })
    }

    /// Waits until it greets at `port`.
    ///
    /// # Errors
    /// It ends, or does not greet in time; the error has the end of its log.
    pub(super) fn wait_for(&mut self, port: u16, ca: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            self.require_running()?;
            match Client::connect_to(&format!("127.0.0.1:{port}"), "localhost", ca) {
                Ok(_) => return self.require_running(),
                Err(error) if start.elapsed() > PATIENCE => {
                    return Err(error.context(format!(
                        "{} does not answer:\n{}",
                        self.name,
                        self.last_words()
                    )));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn require_running(&mut self) -> Result<()> {
        if self.guard.try_wait()?.is_some() {
            bail!("the server of {} ended:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        format!("{}\n(from {})", last_lines(&self.log, 5), self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Waits for Ctrl-C or SIGTERM.
///
/// # Errors
/// One of `processes` ended before that.
pub(super) async fn until_interrupted(processes: &mut [Process]) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = tick.tick() => processes.iter_mut().try_for_each(Process::require_running)?,
        }
    }
}

/// Whether `host` is a name of this machine, so that clients find the servers by it.
pub(super) fn is_this_machine(host: &str) -> bool {
    (host, 0).to_socket_addrs().is_ok_and(|mut addresses| addresses.any(|address| address.ip().is_loopback()))
}
