package main

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// entry is one name of a folder.
type entry struct {
	name string
	ino  uint64
	mode uint32
}

func (f *fileSystem) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	const read = 4
	r, n := f.request(cancel, &in.InHeader), f.node(in.NodeId)
	if st := r.access(n.fh, read); !st.Ok() {
		return st
	}
	out.Fh = f.newHandle(n, r.cred)
	return fuse.OK
}

// ReadDir lists the folder when it is read from the start, so that entries keep their offsets while it changes.
func (f *fileSystem) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	h := f.handle(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	if in.Offset == 0 || h.entries == nil {
		entries, st := f.as(h, cancel, in.Pid).list(h.n)
		if !st.Ok() {
			return st
		}
		h.entries = entries
	}
	for i := in.Offset; i < uint64(len(h.entries)); i++ {
		x := h.entries[i]
		if !out.AddDirEntry(fuse.DirEntry{Name: x.name, Ino: x.ino, Mode: x.mode, Off: i + 1}) {
			break
		}
	}
	return fuse.OK
}

// list reads the whole folder, from the start again where the server no longer knows the place (BAD_COOKIE).
func (r *request) list(n *node) (entries []entry, st fuse.Status) {
	for range 5 {
		if entries, st = r.listOnce(n); st != fuse.Status(syscall.EAGAIN) {
			return entries, st
		}
	}
	return nil, fuse.EIO
}

func (r *request) listOnce(n *node) ([]entry, fuse.Status) {
	const namesSize, answerSize = 32 << 10, 128 << 10
	entries := []entry{}
	var cookie, verf uint64
	for {
		e := handleArg(n.fh)
		e.u64(cookie)
		e.u64(verf)
		e.u32(namesSize)
		e.u32(answerSize)
		d, st := r.do(procReaddirplus, e.b)
		if !st.Ok() {
			return nil, st
		}
		d.postOp(nil)
		verf = d.u64()
		before := len(entries)
		for d.u32() == 1 && !d.bad {
			x := entry{ino: d.u64(), name: string(d.opaque())}
			cookie = d.u64()
			var a fuse.Attr
			d.postOp(&a)
			x.mode = a.Mode
			if d.u32() != 0 {
				d.opaque()
			}
			entries = append(entries, x)
		}
		eof := d.u32() != 0
		if d.bad || !eof && len(entries) == before {
			return nil, fuse.EIO
		}
		if eof {
			return entries, fuse.OK
		}
	}
}

// FsyncDir has nothing to do: a server answers once a change of names is durable (RFC 1813 section 4.8).
func (f *fileSystem) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

func (f *fileSystem) ReleaseDir(in *fuse.ReleaseIn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.handles[in.Fh]; h != nil {
		delete(f.handles, in.Fh)
		h.n.opens--
		f.dropUnused(h.n)
	}
}
