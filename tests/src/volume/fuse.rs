//! The volume as the kernel sees it.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::disk::{Content, Disk};
use super::{Fault, Shared};

/// The kernel remembers nothing, so a fault is seen at once.
const TTL: Duration = Duration::ZERO;

/// Blocks of 4 KiB that the volume says it has.
const BLOCKS: u64 = 1 << 20;

/// Serves a volume.
pub(super) struct Server(pub(super) Arc<Shared>);

fn attributes(disk: &Disk, number: u64) -> Result<FileAttr, Errno> {
    let node = disk.node(number)?;
    let (kind, size) = match &node.content {
        Content::File { now, .. } => (FileType::RegularFile, now.len() as u64),
        Content::Folder { .. } => (FileType::Directory, 0),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind,
        perm: node.mode,
        nlink: node.links,
        uid: node.owner.0,
        gid: node.owner.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

/// Places in a file fit in memory, for the whole file is there.
fn place(offset: u64) -> Result<usize, Errno> {
    usize::try_from(offset).map_err(|_| Errno::EFBIG)
}

fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).unwrap_or(0)
}

impl Server {
    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        folder: bool,
    ) -> Result<FileAttr, Errno> {
        let mut state = self.0.enter()?;
        state.grow()?;
        let owner = (request.uid(), request.gid());
        let number = state.disk.make(parent.0, name, folder, permissions(mode), owner)?;
        attributes(&state.disk, number)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr, folder: bool) -> Result<(), Errno> {
        let mut state = self.0.enter()?;
        state.change()?;
        state.disk.remove(parent.0, name, folder)
    }

    fn sync(&self, number: INodeNo) -> Result<(), Errno> {
        let mut state = self.0.enter()?;
        state.change()?;
        state.disk.sync(number.0)
    }

    fn write(&self, number: INodeNo, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let mut state = self.0.enter()?;
        let at = place(offset)?;
        let is_new = at + data.len() > state.disk.file(number.0)?.len();
        let allowed = if is_new { state.grow() } else { state.change() };
        allowed?;
        state.disk.write(number.0, at, data)?;
        u32::try_from(data.len()).map_err(|_| Errno::EINVAL)
    }

    fn open(&self, flags: OpenFlags) -> Result<(), Errno> {
        let state = self.0.enter()?;
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        if state.fault == Fault::ReadOnly && writes { Err(Errno::EROFS) } else { Ok(()) }
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(made: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match made {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(read: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match read {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.enter().and_then(|state| {
            let number = state.disk.find(parent.0, name)?;
            attributes(&state.disk, number)
        });
        entry(found, reply);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(self.0.enter().and_then(|state| attributes(&state.disk, number.0)), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.0.enter().and_then(|mut state| {
            state.change()?;
            if let Some(size) = size {
                state.disk.resize(number.0, place(size)?)?;
            }
            let node = state.disk.node_mut(number.0)?;
            node.mode = mode.map_or(node.mode, permissions);
            node.owner = (uid.unwrap_or(node.owner.0), gid.unwrap_or(node.owner.1));
            attributes(&state.disk, number.0)
        });
        attr(set, reply);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(self.make(request, parent, name, mode, true), reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.make(request, parent, name, mode, false) {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent, name, false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent, name, true), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.0.enter().and_then(|mut state| {
            state.change()?;
            state.disk.rename((parent.0, name), (to.0, new_name))
        });
        empty(renamed, reply);
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.0.enter().and_then(|mut state| {
            state.grow()?;
            state.disk.link(number.0, parent.0, name)?;
            attributes(&state.disk, number.0)
        });
        entry(linked, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open(flags) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.0.enter().and_then(|state| {
            let file = state.disk.file(number.0)?;
            let start = place(offset)?.min(file.len());
            let end = start.saturating_add(size as usize).min(file.len());
            Ok(file[start..end].to_vec())
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write(number, offset, data) {
            Ok(count) => reply.written(count),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.sync(number), reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(self.sync(number), reply);
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.0.enter().and_then(|state| {
            let names = state.disk.folder(number.0)?.iter();
            names
                .map(|(name, number)| Ok((*number, attributes(&state.disk, *number)?.kind, name.clone())))
                .collect::<Result<Vec<_>, Errno>>()
        });
        let names = match listed {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        // A place is the node's number: it stays where names before it go away.
        let mut names: Vec<_> = names.into_iter().filter(|(number, ..)| *number > offset).collect();
        names.sort_by_key(|(number, ..)| *number);
        for (number, kind, name) in names {
            if reply.add(INodeNo(number), number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.0.enter() {
            Ok(state) => {
                let free = if state.fault == Fault::Full { 0 } else { BLOCKS };
                reply.statfs(BLOCKS, free, free, BLOCKS, free, 4096, 255, 4096);
            }
            Err(error) => reply.error(error),
        }
    }
}
