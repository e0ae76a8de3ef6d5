package main

// Files: open, read, write, close. Close-to-open consistency, as every NFS client has it.

import (
	"math/rand"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func (f *fileSystem) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	const unchecked, exclusive = 0, 2
	r, dir := f.request(cancel, &in.InHeader), f.node(in.NodeId)
	mode := in.Mode & 0o7777
	e := nameArg(dir.fh, name)
	excl := in.Flags&syscall.O_EXCL != 0
	if excl {
		// The server knows a call that is sent again by its verifier, which it keeps in the file's times until
		// SETATTR: hence positive 32-bit seconds.
		e.u32(exclusive)
		e.u64(rand.Uint64() & 0x7fffffff7fffffff)
	} else {
		s := &settable{mode: &mode}
		if in.Flags&syscall.O_TRUNC != 0 {
			s.size = new(uint64)
		}
		e.u32(unchecked)
		e.settable(s)
	}
	d, st := r.do(procCreate, e.b)
	if !st.Ok() {
		return st
	}
	n, st := r.made(dir.fh, name, d, &out.EntryOut)
	if st.Ok() && excl {
		if st = r.setattr(n.fh, &settable{mode: &mode, atime: 1, mtime: 1}); st.Ok() {
			st = r.getattr(n.fh, &out.Attr)
		}
		if !st.Ok() { // the kernel will not hear of the node, so it will not forget it either
			f.Forget(n.id, 1)
		}
	}
	if !st.Ok() {
		return st
	}
	out.Fh = f.newHandle(n, r.cred)
	return fuse.OK
}

func (f *fileSystem) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	const read, write, execute = 4, 2, 1
	r, n := f.request(cancel, &in.InHeader), f.node(in.NodeId)
	want := uint32(read)
	switch in.Flags & syscall.O_ACCMODE {
	case syscall.O_WRONLY:
		want = write
	case syscall.O_RDWR:
		want = read | write
	}
	if st := r.access(n.fh, want); !st.Ok() {
		if want != read || !r.access(n.fh, execute).Ok() { // a program that may be run and not read
			return st
		}
	}
	if in.Flags&syscall.O_TRUNC != 0 {
		if st := r.commit(n); !st.Ok() {
			return st
		}
		if st := r.setattr(n.fh, &settable{size: new(uint64)}); !st.Ok() {
			return st
		}
	}
	out.Fh = f.newHandle(n, r.cred) // without FOPEN_KEEP_CACHE: what another client closed is seen
	return fuse.OK
}

func (f *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := f.handle(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	r := f.as(h, cancel, in.Pid)
	n := 0
	for n < len(buf) {
		e := handleArg(h.n.fh)
		e.u64(in.Offset + uint64(n))
		e.u32(min(f.rsize, uint32(len(buf)-n)))
		d, st := r.do(procRead, e.b)
		if !st.Ok() {
			return nil, st
		}
		d.postOp(nil)
		d.u32() // count, which the data repeats
		eof := d.u32() != 0
		data := d.opaque()
		if d.bad {
			return nil, fuse.EIO
		}
		n += copy(buf[n:], data)
		if eof || len(data) == 0 {
			break
		}
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (f *fileSystem) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := f.handle(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	r := f.as(h, cancel, in.Pid)
	done := 0
	for done < len(data) {
		part := data[done:min(len(data), done+int(f.wsize))]
		count, st := r.writeUnstable(h.n, in.Offset+uint64(done), part)
		if !st.Ok() {
			if done > 0 {
				break
			}
			return 0, st
		}
		done += count
	}
	return uint32(done), fuse.OK
}

// Flush is called at every close(2): what was written is durable, and seen by who opens the file then.
func (f *fileSystem) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h := f.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	return f.as(h, cancel, in.Pid).commit(h.n)
}

func (f *fileSystem) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	return f.as(h, cancel, in.Pid).commit(h.n)
}

// Release follows the last close of a handle; nobody waits for it.
func (f *fileSystem) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	f.mu.Lock()
	h := f.handles[in.Fh]
	delete(f.handles, in.Fh)
	f.mu.Unlock()
	if h == nil {
		return
	}
	n, r := h.n, f.as(h, cancel, 0)
	// A shared mapping may have written after the last Flush. The handle counts as open until this is done.
	if st := r.commit(n); !st.Ok() {
		logf("data written after the last close of a file is lost: %v", st)
	}
	f.mu.Lock()
	n.opens--
	var hidden *hiddenName
	if n.opens == 0 {
		hidden, n.hidden = n.hidden, nil
	}
	f.dropUnused(n)
	f.mu.Unlock()
	if hidden != nil {
		r.cred = hidden.cred
		r.remove(hidden.dir, hidden.name)
	}
}
