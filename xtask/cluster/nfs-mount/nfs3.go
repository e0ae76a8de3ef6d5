package main

// The procedures of NFSv3 (RFC 1813) that more than one operation uses, and its types.

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	procGetattr     = 1
	procSetattr     = 2
	procLookup      = 3
	procAccess      = 4
	procReadlink    = 5
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkdir       = 9
	procSymlink     = 10
	procMknod       = 11
	procRemove      = 12
	procRmdir       = 13
	procRename      = 14
	procLink        = 15
	procReaddirplus = 17
	procFsstat      = 18
	procCommit      = 21
)

// nfsstat3 values that are obeyed rather than reported.
const (
	statBadCookie = 10003
	statJukebox   = 10008 // busy, ask again later
)

var errnoOf = map[uint32]syscall.Errno{1: syscall.EPERM, 2: syscall.ENOENT, 5: syscall.EIO, 6: syscall.ENXIO,
	13: syscall.EACCES, 17: syscall.EEXIST, 18: syscall.EXDEV, 19: syscall.ENODEV, 20: syscall.ENOTDIR,
	21: syscall.EISDIR, 22: syscall.EINVAL, 27: syscall.EFBIG, 28: syscall.ENOSPC, 30: syscall.EROFS,
	31: syscall.EMLINK, 63: syscall.ENAMETOOLONG, 66: syscall.ENOTEMPTY, 69: syscall.EDQUOT, 70: syscall.ESTALE,
	10001: syscall.ESTALE, statBadCookie: syscall.EAGAIN, 10004: syscall.EOPNOTSUPP}

// request is one operation of the kernel on behalf of a caller.
type request struct {
	f *fileSystem
	caller
}

// do makes one NFS call, again while the server is busy, and eats the status.
func (r *request) do(proc uint32, args []byte) (*decoder, fuse.Status) {
	for {
		d, errno := r.f.rpc.call(r.caller, nfsProgram, nfsVersion, proc, args)
		if errno != 0 {
			return nil, fuse.Status(errno)
		}
		status := d.u32()
		switch {
		case d.bad:
			return nil, fuse.EIO
		case status == 0:
			return d, fuse.OK
		case status != statJukebox:
			errno, known := errnoOf[status]
			if !known {
				errno = syscall.EIO
			}
			return nil, fuse.Status(errno)
		case killed(r.thread):
			return nil, fuse.EINTR
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// ftype3 to S_IF….
var fileType = []uint32{0, syscall.S_IFREG, syscall.S_IFDIR, syscall.S_IFBLK, syscall.S_IFCHR, syscall.S_IFLNK,
	syscall.S_IFSOCK, syscall.S_IFIFO}

// attributes reads a fattr3; a may be nil.
func (d *decoder) attributes(a *fuse.Attr) {
	kind := d.u32()
	mode := d.u32() & 0o7777
	if kind < uint32(len(fileType)) {
		mode |= fileType[kind]
	}
	nlink, uid, gid := d.u32(), d.u32(), d.u32()
	size, used := d.u64(), d.u64()
	major, minor := d.u32(), d.u32()
	d.u64() // fsid
	ino := d.u64()
	if a == nil {
		d.skip(24)
		return
	}
	*a = fuse.Attr{Ino: ino, Size: size, Blocks: (used + 511) / 512, Mode: mode, Nlink: nlink,
		Owner: fuse.Owner{Uid: uid, Gid: gid}, Rdev: major<<8 | minor&0xff | (minor&^0xff)<<12, Blksize: megabyte}
	a.Atime, a.Atimensec = uint64(d.u32()), d.u32()
	a.Mtime, a.Mtimensec = uint64(d.u32()), d.u32()
	a.Ctime, a.Ctimensec = uint64(d.u32()), d.u32()
}

// postOp reads a post_op_attr and says whether the server sent one.
func (d *decoder) postOp(a *fuse.Attr) bool {
	if d.u32() == 0 {
		return false
	}
	d.attributes(a)
	return !d.bad
}

// skipWcc passes over a wcc_data.
func (d *decoder) skipWcc() {
	if d.u32() != 0 {
		d.skip(24)
	}
	d.postOp(nil)
}

// settable is a sattr3: what is nil or 0 stays.
type settable struct {
	mode, uid, gid *uint32
	size           *uint64
	atime, mtime   uint32 // 1: the server's time; 2: at, mt
	at, mt         [2]uint32
}

func (e *encoder) settable(s *settable) {
	for _, p := range []*uint32{s.mode, s.uid, s.gid} {
		if p == nil {
			e.u32(0)
		} else {
			e.u32(1)
			e.u32(*p)
		}
	}
	if s.size == nil {
		e.u32(0)
	} else {
		e.u32(1)
		e.u64(*s.size)
	}
	e.time(s.atime, s.at)
	e.time(s.mtime, s.mt)
}

func (e *encoder) time(how uint32, t [2]uint32) {
	e.u32(how)
	if how == 2 {
		e.u32(t[0])
		e.u32(t[1])
	}
}

// handleArg begins arguments with a file handle, nameArg with a diropargs3.
func handleArg(fh []byte) *encoder {
	e := &encoder{}
	e.opaque(fh)
	return e
}

func nameArg(dir []byte, name string) *encoder {
	e := handleArg(dir)
	e.str(name)
	return e
}

func (r *request) getattr(fh []byte, a *fuse.Attr) fuse.Status {
	d, st := r.do(procGetattr, handleArg(fh).b)
	if !st.Ok() {
		return st
	}
	d.attributes(a)
	if d.bad {
		return fuse.EIO
	}
	return fuse.OK
}

func (r *request) setattr(fh []byte, s *settable) fuse.Status {
	e := handleArg(fh)
	e.settable(s)
	e.u32(0) // no guard
	_, st := r.do(procSetattr, e.b)
	return st
}

// lookup returns the handle that a name stands for; a may be nil.
func (r *request) lookup(dir []byte, name string, a *fuse.Attr) ([]byte, fuse.Status) {
	d, st := r.do(procLookup, nameArg(dir, name).b)
	if !st.Ok() {
		return nil, st
	}
	fh := d.opaque()
	if len(fh) == 0 {
		return nil, fuse.EIO
	}
	if !d.postOp(a) && a != nil {
		st = r.getattr(fh, a)
	}
	return fh, st
}

// access asks whether the caller may read (4), write (2), execute or search (1).
func (r *request) access(fh []byte, want uint32) fuse.Status {
	const read, search, modify, extend, execute = 1, 2, 4, 8, 0x20
	e := handleArg(fh)
	e.u32(0x3f)
	d, st := r.do(procAccess, e.b)
	if !st.Ok() {
		return st
	}
	d.postOp(nil)
	granted := d.u32()
	for bit, enough := range map[uint32]uint32{4: read, 2: modify | extend, 1: search | execute} {
		if want&bit != 0 && granted&enough == 0 {
			return fuse.EACCES
		}
	}
	return fuse.OK
}

func (r *request) rename(fromDir []byte, from string, toDir []byte, to string) fuse.Status {
	e := nameArg(fromDir, from)
	e.opaque(toDir)
	e.str(to)
	_, st := r.do(procRename, e.b)
	return st
}

func (r *request) remove(dir []byte, name string) fuse.Status {
	_, st := r.do(procRemove, nameArg(dir, name).b)
	return st
}
