package main

// What changes names: lookup, making, linking, renaming, removing.

import (
	"bytes"
	"fmt"
	"math/rand"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func (f *fileSystem) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if len(name) > 255 {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	fh, st := f.request(cancel, h).lookup(f.node(h.NodeId).fh, name, &out.Attr)
	if st.Ok() {
		f.know(fh, out)
	}
	return st
}

// made reads the answer of CREATE and its kin.
func (r *request) made(dir []byte, name string, d *decoder, out *fuse.EntryOut) (*node, fuse.Status) {
	var fh []byte
	if d.u32() != 0 {
		fh = d.opaque()
	}
	if !d.postOp(&out.Attr) || len(fh) == 0 {
		var st fuse.Status
		if fh, st = r.lookup(dir, name, &out.Attr); !st.Ok() {
			return nil, st
		}
	}
	return r.f.know(fh, out), fuse.OK
}

func (f *fileSystem) mk(cancel <-chan struct{}, h *fuse.InHeader, proc uint32, name string, fill func(*encoder), out *fuse.EntryOut) fuse.Status {
	r, dir := f.request(cancel, h), f.node(h.NodeId)
	e := nameArg(dir.fh, name)
	fill(e)
	d, st := r.do(proc, e.b)
	if st.Ok() {
		_, st = r.made(dir.fh, name, d, out)
	}
	return st
}

func (f *fileSystem) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	mode := in.Mode & 0o7777
	return f.mk(cancel, &in.InHeader, procMkdir, name, func(e *encoder) { e.settable(&settable{mode: &mode}) }, out)
}

func (f *fileSystem) Symlink(cancel <-chan struct{}, h *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	mode := uint32(0o777)
	return f.mk(cancel, h, procSymlink, name, func(e *encoder) { e.settable(&settable{mode: &mode}); e.str(to) }, out)
}

func (f *fileSystem) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	mode, kind := in.Mode&0o7777, in.Mode&syscall.S_IFMT
	if kind == syscall.S_IFREG {
		const guarded = 1
		return f.mk(cancel, &in.InHeader, procCreate, name, func(e *encoder) { e.u32(guarded); e.settable(&settable{mode: &mode}) }, out)
	}
	return f.mk(cancel, &in.InHeader, procMknod, name, func(e *encoder) {
		for number, bits := range fileType {
			if number > 0 && bits == kind {
				e.u32(uint32(number))
			}
		}
		e.settable(&settable{mode: &mode})
		if kind == syscall.S_IFCHR || kind == syscall.S_IFBLK {
			e.u32(in.Rdev >> 8 & 0xfff)
			e.u32(in.Rdev&0xff | in.Rdev>>12&^0xff)
		}
	}, out)
}

func (f *fileSystem) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	r, n, dir := f.request(cancel, &in.InHeader), f.node(in.Oldnodeid), f.node(in.NodeId)
	e := handleArg(n.fh)
	e.opaque(dir.fh)
	e.str(name)
	if _, st := r.do(procLink, e.b); !st.Ok() {
		return st
	}
	st := r.getattr(n.fh, &out.Attr)
	if st.Ok() {
		f.know(n.fh, out)
	}
	return st
}

func (f *fileSystem) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	d, st := f.request(cancel, h).do(procReadlink, handleArg(f.node(h.NodeId).fh).b)
	if !st.Ok() {
		return nil, st
	}
	d.postOp(nil)
	return d.opaque(), st
}

// hiddenName is where an open file goes when it is unlinked: NFSv3 has no files without a name, so the client renames
// it, and removes it at the last close.
type hiddenName struct {
	dir  []byte
	name string
	cred *cred
}

func (r *request) hide(dir []byte, name string, n *node) fuse.Status {
	hidden := &hiddenName{dir, fmt.Sprintf(".nfs%016x%08x", n.id, rand.Uint32()), r.cred}
	st := r.rename(dir, name, dir, hidden.name)
	if st.Ok() {
		r.f.mu.Lock()
		n.hidden = hidden
		r.f.mu.Unlock()
	}
	return st
}

// openFile finds the open file, if any, that a name stands for.
func (r *request) openFile(dir []byte, name string) *node {
	fh, st := r.lookup(dir, name, nil)
	if !st.Ok() {
		return nil
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if n := r.f.byFH[string(fh)]; n != nil && n.opens > 0 && n.hidden == nil {
		return n
	}
	return nil
}

func (f *fileSystem) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	r, dir := f.request(cancel, h), f.node(h.NodeId).fh
	if n := r.openFile(dir, name); n != nil {
		return r.hide(dir, name, n)
	}
	return r.remove(dir, name)
}

func (f *fileSystem) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	_, st := f.request(cancel, h).do(procRmdir, nameArg(f.node(h.NodeId).fh, name).b)
	return st
}

func (f *fileSystem) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if in.Flags != 0 { // RENAME_NOREPLACE and RENAME_EXCHANGE: not in NFS
		return fuse.EINVAL
	}
	r, fromDir, toDir := f.request(cancel, &in.InHeader), f.node(in.NodeId).fh, f.node(in.Newdir).fh
	if n := r.openFile(toDir, to); n != nil {
		if source, st := r.lookup(fromDir, from, nil); st.Ok() && !bytes.Equal(source, n.fh) {
			// The open target moves aside first; for a moment the name is not there, as with Linux's client.
			if st := r.hide(toDir, to, n); !st.Ok() {
				return st
			}
		}
	}
	return r.rename(fromDir, from, toDir, to)
}
