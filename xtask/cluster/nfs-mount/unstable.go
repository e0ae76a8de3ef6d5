package main

// Writes that the server took and has not made durable (RFC 1813 section 3.3.7 and 3.3.21): WRITE is UNSTABLE, COMMIT
// makes it durable, and the verifier of both tells whether the server forgot something in between.

import (
	"slices"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// maxUnstable is how much of one file is kept for sending it again.
const maxUnstable = 64 << 20

// unstable is what a file's last COMMIT does not cover.
type unstable struct {
	// Writers hold it shared from WRITE to keep, a COMMIT alone: what is sent again never overtakes a newer write.
	committing sync.RWMutex

	mu     sync.Mutex // of the two below
	writes []unstableWrite
	bytes  int
}

type unstableWrite struct {
	offset uint64
	data   []byte
	verf   uint64
}

func (u *unstable) keep(w unstableWrite) (full bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes = append(u.writes, w)
	u.bytes += len(w.data)
	return u.bytes > maxUnstable
}

func (u *unstable) kept() []unstableWrite {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.writes
}

func (u *unstable) replace(writes []unstableWrite) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes, u.bytes = writes, 0
	for _, w := range writes {
		u.bytes += len(w.data)
	}
}

// grow corrects a size that a server gives who forgot the file's last writes: the kernel would append in the middle of
// them.
func (u *unstable) grow(a *fuse.Attr) {
	for _, w := range u.kept() {
		a.Size = max(a.Size, w.offset+uint64(len(w.data)))
	}
}

// writeUnstable writes, commits if too much is kept, and returns how many bytes the server took.
func (r *request) writeUnstable(n *node, offset uint64, data []byte) (int, fuse.Status) {
	n.committing.RLock()
	count, durable, verf, st := r.write(n, offset, data)
	full := st.Ok() && !durable && n.keep(unstableWrite{offset, append([]byte(nil), data[:count]...), verf})
	n.committing.RUnlock()
	if full {
		st = r.commit(n)
	}
	return count, st
}

func (r *request) write(n *node, offset uint64, data []byte) (count int, durable bool, verf uint64, st fuse.Status) {
	const unstable, stable = 0, 2
	e := &encoder{b: make([]byte, 0, len(data)+128)}
	e.opaque(n.fh)
	e.u64(offset)
	e.u32(uint32(len(data)))
	if r.f.sync {
		e.u32(stable)
	} else {
		e.u32(unstable)
	}
	e.opaque(data)
	d, st := r.do(procWrite, e.b)
	if !st.Ok() {
		return 0, false, 0, st
	}
	d.skipWcc()
	count = int(d.u32())
	durable, verf = d.u32() != unstable, d.u64()
	if d.bad || count <= 0 || count > len(data) {
		return 0, false, 0, fuse.EIO
	}
	return count, durable, verf, fuse.OK
}

// commit makes every write of the file durable. What the server refuses is reported once and dropped, as the kernel's
// client does; a caller who was killed drops nothing.
func (r *request) commit(n *node) fuse.Status {
	n.committing.Lock()
	defer n.committing.Unlock()
	for {
		writes := n.kept()
		if len(writes) == 0 {
			return fuse.OK
		}
		again, st := r.commitOnce(n, writes)
		switch st {
		case fuse.OK:
			n.replace(again)
		case fuse.EINTR:
			return st
		default:
			n.replace(nil)
			return st
		}
	}
}

// commitOnce returns what it had to send again. From the first write that the server forgot, all are sent again in
// their order, as a later one may cover an earlier.
func (r *request) commitOnce(n *node, writes []unstableWrite) (again []unstableWrite, st fuse.Status) {
	verf, st := r.commitCall(n)
	if !st.Ok() {
		return nil, st
	}
	lost := slices.IndexFunc(writes, func(w unstableWrite) bool { return w.verf != verf })
	if lost < 0 {
		return nil, fuse.OK
	}
	logf("the server forgot writes: sending %d again", len(writes)-lost)
	for _, w := range writes[lost:] {
		for len(w.data) > 0 {
			count, durable, verf, st := r.write(n, w.offset, w.data)
			if !st.Ok() {
				return nil, st
			}
			if !durable {
				again = append(again, unstableWrite{w.offset, w.data[:count], verf})
			}
			w.offset, w.data = w.offset+uint64(count), w.data[count:]
		}
	}
	return again, fuse.OK
}

// commitCall asks for the whole file and returns the server's verifier.
func (r *request) commitCall(n *node) (uint64, fuse.Status) {
	e := handleArg(n.fh)
	e.u64(0)
	e.u32(0)
	d, st := r.do(procCommit, e.b)
	if !st.Ok() {
		return 0, st
	}
	d.skipWcc()
	verf := d.u64()
	if d.bad {
		return 0, fuse.EIO
	}
	return verf, fuse.OK
}
