//! How much memory the server uses and may use: from its control group, version 1 or 2, or of the process alone.

use std::fs;
use std::path::{Path, PathBuf};

/// Figures in bytes; 0 where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What may be used; 0 where there is no limit.
    pub limit: u64,
    /// All that is charged, page cache included.
    pub used: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Kernel memory that cannot be reclaimed.
    pub kernel: u64,
    /// Socket buffers.
    pub sock: u64,
    /// Page cache that waits to be written.
    pub dirty: u64,
    /// Page cache that was evicted and had to be read again, since the group was made.
    pub refaulted: u64,
}

/// The kernel counts evicted pages in pages.
const PAGE: u64 = 4096;

impl Memory {
    /// What cannot be evicted. Our own caches stand in it.
    pub fn pinned(&self) -> u64 {
        self.anon + self.kernel + self.sock + self.dirty
    }
}

/// Where the kernel tells about our control group.
#[derive(Clone, Debug)]
pub struct Gauge {
    group: Option<Group>,
    limit: Option<u64>,
}

#[derive(Clone, Debug)]
enum Group {
    V1(PathBuf),
    V2(PathBuf),
}

impl Gauge {
    /// Finds our control group. `limit` stands in for the group's own.
    pub fn find(limit: Option<u64>) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self { group: find_group(&own, Path::new("/sys/fs/cgroup")), limit }
    }

    /// Of no group and without a limit: of the process alone.
    pub fn none() -> Self {
        Self { group: None, limit: None }
    }

    /// The same with a limit of its own.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Of a group of version 2 in a folder.
    #[cfg(test)]
    pub(super) fn at(path: &Path) -> Self {
        Self { group: Some(Group::V2(path.to_owned())), limit: None }
    }

    /// The same if there is a control group that it reads: what the process alone uses is costly to learn.
    pub fn of_group(&self) -> Option<Self> {
        self.group.is_some().then(|| self.clone())
    }

    /// The figures now.
    pub fn read(&self) -> Memory {
        let mut memory = match &self.group {
            Some(Group::V2(path)) => read_v2(path),
            Some(Group::V1(path)) => read_v1(path),
            None => Memory::default(),
        };
        // A group without a limit is not ours alone: the machine's, or a login session's.
        if memory.limit == 0 {
            let anon = own_anonymous();
            memory = Memory { anon, used: anon, ..Memory::default() };
        }
        memory.limit = self.limit.unwrap_or(memory.limit);
        memory
    }
}

/// In a container the group's files stand right in the mount; outside, below the path that the kernel names.
fn find_group(own: &str, mount: &Path) -> Option<Group> {
    let path_of = |prefix: &str| own.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(prefix));
    let places = |root: PathBuf, path: Option<&str>| {
        let below = path.map(|path| root.join(path.trim_start_matches('/')));
        below.into_iter().chain([root])
    };
    places(mount.join("memory"), path_of("memory:"))
        .find(|path| path.join("memory.limit_in_bytes").exists())
        .map(Group::V1)
        .or_else(|| {
            places(mount.to_owned(), path_of(":"))
                .find(|path| path.join("memory.max").exists())
                .map(Group::V2)
        })
}

fn read_v2(path: &Path) -> Memory {
    let stat = fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
    Memory {
        limit: number(&path.join("memory.max")),
        used: number(&path.join("memory.current")),
        anon: field(&stat, "anon"),
        kernel: field(&stat, "kernel").saturating_sub(field(&stat, "slab_reclaimable")),
        sock: field(&stat, "sock"),
        dirty: field(&stat, "file_dirty") + field(&stat, "file_writeback"),
        refaulted: field(&stat, "workingset_refault_file") * PAGE,
    }
}

fn read_v1(path: &Path) -> Memory {
    /// Version 1 writes "no limit" as the largest number of whole pages.
    const UNLIMITED: u64 = 1 << 62;
    let stat = fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
    Memory {
        limit: Some(number(&path.join("memory.limit_in_bytes")))
            .filter(|limit| *limit < UNLIMITED)
            .unwrap_or(0),
        used: number(&path.join("memory.usage_in_bytes")),
        anon: field(&stat, "total_rss"),
        kernel: number(&path.join("memory.kmem.usage_in_bytes")),
        sock: number(&path.join("memory.kmem.tcp.usage_in_bytes")),
        dirty: field(&stat, "total_dirty") + field(&stat, "total_writeback"),
        refaulted: field(&stat, "total_workingset_refault_file") * PAGE,
    }
}

fn number(path: &Path) -> u64 {
    // "max" is no number: no limit.
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn field(stat: &str, name: &str) -> u64 {
    stat.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Resident memory of this process that is no file's.
fn own_anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_version_2_is_read_from_where_the_kernel_names_it() {
        let mount = tempfile::tempdir().expect("a folder");
        let group = mount.path().join("pods/alice");
        fs::create_dir_all(&group).expect("group");
        fs::write(group.join("memory.max"), "6291456\n").expect("write");
        fs::write(group.join("memory.current"), "4000\n").expect("write");
        let stat = "anon 1000\nfile 5\nkernel 250\nkernel_stack 9\nsock 30\nfile_dirty 4\nfile_writeback 1\n\
                    slab_reclaimable 50\nworkingset_refault_anon 9\nworkingset_refault_file 2\n";
        fs::write(group.join("memory.stat"), stat).expect("write");
        let gauge = Gauge { group: find_group("0::/pods/alice\n", mount.path()), limit: None };
        let memory = gauge.read();
        let (limit, used, refaulted) = (6_291_456, 4000, 8192);
        assert_eq!(memory, Memory { limit, used, anon: 1000, kernel: 200, sock: 30, dirty: 5, refaulted });
        assert_eq!(memory.pinned(), 1235);
    }

    #[test]
    fn a_group_of_version_1_is_read_from_the_mount_inside_a_container() {
        let mount = tempfile::tempdir().expect("a folder");
        let group = mount.path().join("memory");
        fs::create_dir_all(&group).expect("group");
        fs::write(group.join("memory.limit_in_bytes"), "6291456\n").expect("write");
        fs::write(group.join("memory.kmem.usage_in_bytes"), "200\n").expect("write");
        fs::write(group.join("memory.usage_in_bytes"), "4000\n").expect("write");
        let stat =
            "rss 1\ntotal_rss 1000\ntotal_dirty 4\ntotal_writeback 1\ntotal_workingset_refault_file 2\n";
        fs::write(group.join("memory.stat"), stat).expect("write");
        let own = "8:cpu:/kubepods/x\n4:memory:/kubepods/x\n0::/\n";
        let memory = Gauge { group: find_group(own, mount.path()), limit: None }.read();
        let (limit, used, refaulted) = (6_291_456, 4000, 8192);
        assert_eq!(memory, Memory { limit, used, anon: 1000, kernel: 200, sock: 0, dirty: 5, refaulted });
    }

    #[test]
    fn without_a_limit_the_figures_are_the_processes_own() {
        let memory = Gauge { group: None, limit: Some(6 << 20) }.read();
        assert_eq!(memory.limit, 6 << 20);
        assert!(memory.anon > 0);
    }
}
