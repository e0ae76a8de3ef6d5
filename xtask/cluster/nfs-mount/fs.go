package main

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// fileSystem answers the kernel's FUSE requests with NFSv3 calls. Its operations are by subject: names.go, file.go,
// folder.go, and here attributes.
type fileSystem struct {
	fuse.RawFileSystem
	rpc          *rpcClient
	rsize, wsize uint32
	attrTTL      time.Duration
	sync         bool // every WRITE is stable

	mu         sync.Mutex
	nodes      map[uint64]*node // by the kernel's number
	byFH       map[string]*node
	handles    map[uint64]*handle
	nextNode   uint64
	nextHandle uint64
}

// node is a file that the kernel knows.
type node struct {
	id      uint64
	fh      []byte
	lookups uint64      // the kernel's references; guarded by fileSystem.mu, as the next two
	opens   int         // open handles
	hidden  *hiddenName // where it is since it was unlinked while open
	unstable
}

// handle is an open file or folder. Reads and writes go under the identity that opened it.
type handle struct {
	n       *node
	cred    *cred
	entries []entry // of a folder, listed when it is read from the start
}

const rootNode = 1

func newFileSystem(rpc *rpcClient, rootFH []byte, m *mountRequest) *fileSystem {
	root := &node{id: rootNode, fh: rootFH, lookups: 1}
	return &fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), rpc: rpc, rsize: m.rsize, wsize: m.wsize,
		attrTTL: m.attrTTL, sync: m.sync, nodes: map[uint64]*node{rootNode: root},
		byFH: map[string]*node{string(rootFH): root}, handles: map[uint64]*handle{}, nextNode: rootNode}
}

func (f *fileSystem) String() string { return "nfs" }

func (f *fileSystem) request(cancel <-chan struct{}, h *fuse.InHeader) *request {
	return &request{f, caller{cancel, h.Pid, credOf(h)}}
}

// as is a request under the identity that opened the handle.
func (f *fileSystem) as(h *handle, cancel <-chan struct{}, thread uint32) *request {
	return &request{f, caller{cancel, thread, h.cred}}
}

// credOf is the identity of the calling thread, with its supplementary groups.
func credOf(h *fuse.InHeader) *cred {
	c := &cred{uid: h.Uid, gid: h.Gid}
	if h.Pid == 0 {
		return c
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(int(h.Pid)) + "/status")
	if err != nil {
		return c
	}
	for line := range strings.Lines(string(status)) {
		if groups, ok := strings.CutPrefix(line, "Groups:"); ok {
			for _, g := range strings.Fields(groups) {
				if v, err := strconv.ParseUint(g, 10, 32); err == nil {
					c.gids = append(c.gids, uint32(v))
				}
			}
		}
	}
	return c
}

// node finds what the kernel means; what it should not mean any more has a handle that the server calls stale.
func (f *fileSystem) node(id uint64) *node {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[id]; n != nil {
		return n
	}
	return &node{}
}

// know registers fh with one more reference of the kernel, and fills out but for the attributes.
func (f *fileSystem) know(fh []byte, out *fuse.EntryOut) *node {
	f.mu.Lock()
	n := f.byFH[string(fh)]
	if n == nil {
		f.nextNode++
		n = &node{id: f.nextNode, fh: append([]byte(nil), fh...)}
		f.nodes[n.id], f.byFH[string(fh)] = n, n
	}
	n.lookups++
	f.mu.Unlock()
	n.grow(&out.Attr)
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(0) // another client may have renamed it
	out.SetAttrTimeout(f.attrTTL)
	return n
}

func (f *fileSystem) Forget(id, count uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.nodes[id]; n != nil && id != rootNode {
		n.lookups -= min(count, n.lookups)
		f.dropUnused(n)
	}
}

// dropUnused is called with mu held.
func (f *fileSystem) dropUnused(n *node) {
	if n.lookups == 0 && n.opens == 0 && n.id != rootNode {
		delete(f.nodes, n.id)
		delete(f.byFH, string(n.fh))
	}
}

func (f *fileSystem) handle(number uint64) *handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handles[number]
}

func (f *fileSystem) newHandle(n *node, c *cred) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nextHandle++
	f.handles[f.nextHandle] = &handle{n: n, cred: c}
	n.opens++
	return f.nextHandle
}

func (f *fileSystem) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.request(cancel, &in.InHeader).attributesOf(f.node(in.NodeId), out)
}

func (r *request) attributesOf(n *node, out *fuse.AttrOut) fuse.Status {
	st := r.getattr(n.fh, &out.Attr)
	n.grow(&out.Attr)
	out.SetTimeout(r.f.attrTTL)
	return st
}

func (f *fileSystem) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	r, n := f.request(cancel, &in.InHeader), f.node(in.NodeId)
	s := &settable{}
	if in.Valid&fuse.FATTR_MODE != 0 {
		mode := in.Mode & 0o7777
		s.mode = &mode
	}
	if in.Valid&fuse.FATTR_UID != 0 {
		s.uid = &in.Uid
	}
	if in.Valid&fuse.FATTR_GID != 0 {
		s.gid = &in.Gid
	}
	if in.Valid&fuse.FATTR_SIZE != 0 {
		s.size = &in.Size
		if st := r.commit(n); !st.Ok() { // no write sent again later may bring back what is cut off
			return st
		}
		if in.Valid&fuse.FATTR_FH != 0 { // ftruncate asks as the opener
			if h := f.handle(in.Fh); h != nil {
				r.cred = h.cred
			}
		}
	}
	if in.Valid&fuse.FATTR_ATIME_NOW != 0 {
		s.atime = 1
	} else if in.Valid&fuse.FATTR_ATIME != 0 {
		s.atime, s.at = 2, [2]uint32{uint32(in.Atime), in.Atimensec}
	}
	if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
		s.mtime = 1
	} else if in.Valid&fuse.FATTR_MTIME != 0 {
		s.mtime, s.mt = 2, [2]uint32{uint32(in.Mtime), in.Mtimensec}
	}
	if st := r.setattr(n.fh, s); !st.Ok() {
		return st
	}
	return r.attributesOf(n, out)
}

func (f *fileSystem) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return f.request(cancel, &in.InHeader).access(f.node(in.NodeId).fh, in.Mask)
}

func (f *fileSystem) StatFs(cancel <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	d, st := f.request(cancel, in).do(procFsstat, handleArg(f.node(rootNode).fh).b)
	if !st.Ok() {
		return st
	}
	d.postOp(nil)
	const block = 4096
	total, free, available := d.u64(), d.u64(), d.u64()
	out.Bsize, out.Frsize, out.NameLen = block, block, 255
	out.Blocks, out.Bfree, out.Bavail = total/block, free/block, available/block
	out.Files, out.Ffree = d.u64(), d.u64()
	return fuse.OK
}
