//! The cluster's processes: started once, recognised later by a mark in their environment, ended by process id.
//!
//! The mark names cluster, process and a hash of everything that the process was started with. It is inherited, so
//! that whatever a process leaves behind (containerd's shims, mount helpers) is recognised as the cluster's too.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

use super::state::Cluster;
use super::tools::{last_lines, short};

/// The environment variable that holds the mark.
const MARK: &str = "ATSIGN_CLUSTER_PROCESS";

/// How long a busy machine may take to start a process.
const STARTING: Duration = Duration::from_secs(30);

/// How long a living process may be without an environment before it is taken for somebody else's.
const EXEC: Duration = Duration::from_millis(500);

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// A log that is larger when its process starts is set aside.
const LOG_LIMIT: u64 = 16 << 20;

/// A process of a cluster, described before it is started.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    hash: Sha256,
}

impl Process {
    /// A process that is known by `name` and runs `program` in the cluster's network namespace.
    pub(crate) fn new(name: &'static str, program: impl AsRef<Path>) -> Self {
        let program = program.as_ref().display().to_string();
        Self { name, arguments: vec![program], environment: Vec::new(), hash: Sha256::new() }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.environment.push((variable.to_owned(), value.into()));
        self
    }

    /// Writes a file that the process reads when it starts: another content, another process.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn config(mut self, path: &Path, content: &str) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::read_to_string(path).ok().as_deref() != Some(content) {
            fs::write(path, content).with_context(|| format!("writing {}", path.display()))?;
        }
        self.hash.update(content);
        Ok(self)
    }

    /// Starts the process unless it runs as described; one that runs otherwise is ended first. True if it started.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub(crate) fn ensure(self, cluster: &Cluster) -> Result<bool> {
        let mark = self.mark(cluster);
        if running(cluster, self.name).is_some_and(|pid| mark_of(pid).as_deref() == Some(mark.as_str())) {
            return Ok(false);
        }
        stop(cluster, self.name)?;
        self.start(cluster, &mark)?;
        Ok(true)
    }

    fn mark(&self, cluster: &Cluster) -> String {
        let mut hash = self.hash.clone();
        for argument in &self.arguments {
            hash.update(argument);
            hash.update([0]);
        }
        // A link into the cache: a newer version of the program is another process.
        hash.update(fs::canonicalize(&self.arguments[0]).unwrap_or_default().as_os_str().as_encoded_bytes());
        for (variable, value) in &self.environment {
            hash.update(format!("{variable}={value}\0"));
        }
        format!("{}{}:{}", mark_prefix(cluster), self.name, short(hash))
    }

    /// The shell writes its process id before it becomes the program, so that no moment exists in which the program
    /// runs and its id is written nowhere.
    fn start(self, cluster: &Cluster, mark: &str) -> Result<()> {
        let log = open_log(&cluster.log(self.name))?;
        let pid_file = pid_file(cluster, self.name);
        let mut child = Command::new("setsid")
            .args(["sh", "-c", r#"echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@""#])
            .arg(&pid_file)
            .arg("nsenter")
            .arg(format!("--net={}", cluster.netns().display()))
            .arg("--")
            .args(&self.arguments)
            .env(MARK, mark)
            .envs(self.environment)
            .current_dir(cluster.state())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("running setsid (Debian package util-linux)")?;
        let start = Instant::now();
        while start.elapsed() < STARTING {
            if let Some(status) = child.try_wait()? {
                let log = cluster.log(self.name);
                anyhow::bail!(
                    "{} ended at once ({status}):\n{}\nits log is {}",
                    self.name,
                    last_lines(&log, 10),
                    log.display()
                );
            }
            if running(cluster, self.name).is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!(
            "{} did not start within {STARTING:?}; its log is {}",
            self.name,
            cluster.log(self.name).display()
        )
    }
}

/// The id of the cluster's process of this name, if it runs.
pub(crate) fn running(cluster: &Cluster, name: &str) -> Option<u32> {
    let pid = fs::read_to_string(pid_file(cluster, name)).ok()?.trim().parse().ok()?;
    let prefix = format!("{}{name}:", mark_prefix(cluster));
    let start = Instant::now();
    loop {
        if let Some(mark) = mark_of(pid) {
            return (mark.starts_with(&prefix) && !is_dead(pid)).then_some(pid);
        }
        // While a process becomes another program (sh, nsenter, then its own) it shows no environment for a moment.
        if is_dead(pid) || start.elapsed() > EXEC {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An error with the end of its log where the process does not run any more.
///
/// # Errors
/// The process has ended.
pub(crate) fn require_running(cluster: &Cluster, name: &str) -> Result<()> {
    let log = cluster.log(name);
    ensure!(
        running(cluster, name).is_some(),
        "{name} ended:\n{}\nits log is {}; `cargo xtask up` starts it again",
        last_lines(&log, 10),
        log.display()
    );
    Ok(())
}

/// Ends one process of the cluster and waits until it is gone.
///
/// # Errors
/// It cannot be ended.
pub(crate) fn stop(cluster: &Cluster, name: &str) -> Result<()> {
    if let Some(pid) = running(cluster, name) {
        end(&[pid])?;
    }
    let _ = fs::remove_file(pid_file(cluster, name));
    Ok(())
}

/// Everything that was started for the cluster and still runs, children included, but no container.
pub(crate) fn all(cluster: &Cluster) -> Vec<u32> {
    let prefix = mark_prefix(cluster);
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id())
        .filter(|&pid| mark_of(pid).is_some_and(|mark| mark.starts_with(&prefix)) && !is_dead(pid))
        .collect()
}

/// Asks the processes to end, kills those that do not, and waits until all are gone.
///
/// # Errors
/// One of them is still there afterwards, which the kernel does only to a process that hangs in a system call.
pub(crate) fn end(pids: &[u32]) -> Result<()> {
    for &pid in pids {
        send(pid, Signal::TERM);
    }
    if all_dead_within(GRACE, pids) { Ok(()) } else { kill(pids) }
}

/// Kills the processes without asking, and waits until all are gone.
///
/// # Errors
/// One of them is still there afterwards, which the kernel does only to a process that hangs in a system call.
pub(crate) fn kill(pids: &[u32]) -> Result<()> {
    for &pid in pids {
        send(pid, Signal::KILL);
    }
    let left = || pids.iter().filter(|&&pid| !is_dead(pid)).collect::<Vec<_>>();
    ensure!(
        all_dead_within(GRACE, pids),
        "processes {:?} do not end even when killed: look at /proc/<id>/stack",
        left()
    );
    Ok(())
}

fn all_dead_within(patience: Duration, pids: &[u32]) -> bool {
    let start = Instant::now();
    while !pids.iter().all(|&pid| is_dead(pid)) {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Sends a signal to one process; that it has gone meanwhile is fine.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Gone, or a zombie that only waits for its parent to ask.
pub(crate) fn is_dead(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

fn mark_of(pid: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environment
        .split(|&byte| byte == 0)
        .find_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

fn mark_prefix(cluster: &Cluster) -> String {
    format!("{}:", cluster.state().display())
}

fn pid_file(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.state().join(format!("{name}.pid"))
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if path.metadata().is_ok_and(|log| log.len() > LOG_LIMIT) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    let mut log = File::options().create(true).append(true).open(path)?;
    writeln!(log, "--- started by cargo xtask")?;
    Ok(log)
}
