//! A memory control group of our own, version 1 or 2, below the one that the test runs in. Needs root.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context as _, Result};

/// A group; removed when dropped, once its processes have ended.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
    version_2: bool,
}

impl MemoryGroup {
    /// A group with a limit in bytes.
    pub fn new(limit: u64) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("atsign-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (parent, version_2) = own()?;
        let group = Self { path: parent.join(name), version_2 };
        fs::create_dir(&group.path).with_context(|| format!("make {}: root may", group.path.display()))?;
        group.set_limit(limit)?;
        // Without swap a limit is a limit.
        let no_swap = if version_2 { "memory.swap.max" } else { "memory.swappiness" };
        let _ = fs::write(group.path.join(no_swap), "0");
        Ok(group)
    }

    /// Sets another limit.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        let name = if self.version_2 { "memory.max" } else { "memory.limit_in_bytes" };
        let path = self.path.join(name);
        fs::write(&path, limit.to_string()).with_context(|| format!("write {limit} to {}", path.display()))
    }

    /// Bytes that are charged to it.
    pub fn used(&self) -> Result<u64> {
        let name = if self.version_2 { "memory.current" } else { "memory.usage_in_bytes" };
        Ok(fs::read_to_string(self.path.join(name))?.trim().parse()?)
    }

    /// All of `memory.stat` that is not nothing, in a line.
    pub fn stats(&self) -> Result<String> {
        let stat = fs::read_to_string(self.path.join("memory.stat"))?;
        let figures: Vec<_> = stat.lines().filter(|line| !line.ends_with(" 0")).collect();
        Ok(figures.join(", "))
    }

    /// A figure of `memory.stat`.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let stat = fs::read_to_string(self.path.join("memory.stat"))?;
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{name} in memory.stat"))?.parse()?)
    }

    /// Anonymous memory of its processes.
    pub fn anonymous(&self) -> Result<u64> {
        self.stat(if self.version_2 { "anon" } else { "rss" })
    }

    /// How often the kernel has killed in it.
    pub fn kills(&self) -> Result<u64> {
        let name = if self.version_2 { "memory.events" } else { "memory.oom_control" };
        let events = fs::read_to_string(self.path.join(name))?;
        let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("oom_kill")?.trim().parse()?)
    }

    /// The file that a process writes itself into.
    pub fn processes(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A process that was killed leaves its group a little later.
        let deadline = Instant::now() + Duration::from_secs(10);
        while let Err(error) = fs::remove_dir(&self.path) {
            if error.kind() == io::ErrorKind::NotFound || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The group that we run in, and whether it is of version 2.
fn own() -> Result<(PathBuf, bool)> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let path_of = |prefix: &str| groups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(prefix));
    let mount = Path::new("/sys/fs/cgroup");
    if let Some(path) = path_of("memory:") {
        return Ok((mount.join("memory").join(path.trim_start_matches('/')), false));
    }
    let path = path_of(":").context("no memory control group")?;
    Ok((mount.join(path.trim_start_matches('/')), true))
}
