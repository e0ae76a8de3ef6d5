//! A background process that is known by its pid file, and outlives the one that started it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Where a process's pid and output are, and what it is, so that a pid used again by another program is not mistaken
/// for it.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    /// The file name of the program.
    pub(crate) program: &'static str,
    /// Holds the pid; stays behind when the process is killed.
    pub(crate) pid_file: PathBuf,
    /// What the process prints, appended over all its runs.
    pub(crate) log: PathBuf,
}

impl Daemon {
    pub(crate) fn new(program: &'static str, folder: &Path) -> Self {
        Self {
            program,
            pid_file: folder.join(format!("{program}.pid")),
            log: folder.join(format!("{program}.log")),
        }
    }

    /// The process, if it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        let pid = fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?;
        // A zombie has no executable any more.
        let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let name = executable.file_name()?.to_str()?;
        let name = name.strip_suffix(" (deleted)").unwrap_or(name);
        (name == self.program).then(|| Pid::from_raw(pid)).flatten()
    }

    /// Whether what was spawned is no more, neither as the program nor as what comes before it.
    fn ended(&self) -> bool {
        fs::read_to_string(&self.pid_file)
            .is_ok_and(|pid| fs::read_link(format!("/proc/{}/exe", pid.trim())).is_err())
    }

    /// Runs `entering` (words that change namespaces and then execute what follows them), and in there the shell
    /// script `preparing`, which becomes `command`. Words, script and program are one process, whose pid the script
    /// writes down first: no crash of ours can lose it.
    pub(crate) fn spawn(&self, entering: &[String], preparing: &str, command: &[String]) -> Result<()> {
        ensure!(self.pid().is_none(), "{} runs already", self.program);
        let _ = fs::remove_file(&self.pid_file);
        let log = File::options().create(true).append(true).open(&self.log)?;
        Command::new("setsid")
            .args(entering)
            .args(["sh", "-ec", &format!("echo $$ > \"$0\"\n{preparing}\nexec \"$@\"")])
            .arg(&self.pid_file)
            .args(command)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program))?;
        Ok(())
    }

    /// Waits until the process listens on the TCP `port` of its network namespace.
    ///
    /// # Errors
    /// It ended, or does not listen after 20 seconds; the end of its log says why.
    pub(crate) fn wait_for_port(&self, port: u16) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if self.pid().is_some_and(|pid| listens(pid, port)) {
                return Ok(());
            }
            if self.ended() || Instant::now() > deadline {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(8).collect();
                let last: Vec<_> = last.into_iter().rev().collect();
                bail!("{} does not listen on port {port}: {}", self.program, last.join("\n"));
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Sends a signal to the process, and waits for the end that `KILL` brings; false if it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let sent = self.pid().is_some_and(|pid| kill_process(pid, signal).is_ok());
        let deadline = Instant::now() + Duration::from_secs(5);
        while signal == Signal::KILL && self.pid().is_some() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        sent
    }

    /// Ends the process: asks, and after five seconds insists.
    pub(crate) fn stop(&self) -> Result<()> {
        self.signal(Signal::CONT);
        for signal in [Signal::TERM, Signal::KILL] {
            let deadline = Instant::now() + Duration::from_secs(5);
            self.signal(signal);
            while Instant::now() < deadline {
                if self.pid().is_none() {
                    let _ = fs::remove_file(&self.pid_file);
                    return Ok(());
                }
                sleep(Duration::from_millis(20));
            }
        }
        bail!("{} survives SIGKILL", self.program)
    }
}

/// Whether a socket listens on `port` in the network namespace of `pid`: asked of the kernel, as this process is in
/// another namespace and cannot connect.
fn listens(pid: Pid, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        fs::read_to_string(format!("/proc/{}/net/{table}", pid.as_raw_nonzero())).is_ok_and(|sockets| {
            sockets.lines().skip(1).any(|socket| {
                let mut fields = socket.split_whitespace().skip(1);
                fields.next().is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some(LISTEN)
            })
        })
    })
}
