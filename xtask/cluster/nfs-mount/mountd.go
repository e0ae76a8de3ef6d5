package main

import (
	"fmt"
	"net"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Programs and their versions.
const (
	portmapProgram, portmapVersion = 100000, 2
	nfsProgram, nfsVersion         = 100003, 3
	mountProgram, mountVersion     = 100005, 3
)

const (
	portmapPort = 111
	nfsPort     = 2049
	introducing = 10 * time.Second // patience with the portmapper and mountd; the kubelet tries again
)

// serve mounts and answers the kernel until the unmount.
func (m *mountRequest) serve() error {
	root, err := m.rootHandle()
	if err != nil {
		return err
	}
	port := m.port
	if port == 0 {
		if port, err = portOf(m.host, nfsProgram, nfsVersion); err != nil {
			port = nfsPort
		}
	}
	rpc, err := newRPC(address(m.host, port), m.resvport, m.patience())
	if err != nil {
		return fmt.Errorf("nfsd: %w", err)
	}
	f := newFileSystem(rpc, root, m)
	server, err := fuse.NewServer(f, m.dir, &fuse.MountOptions{
		AllowOther: true, FsName: m.spec, Name: "nfs", DirectMountStrict: true, DirectMountFlags: m.flags,
		DisableXAttrs: true, DisableReadDirPlus: true, DisableSplice: true,
		MaxWrite: megabyte, MaxBackground: 64, MaxReadAhead: megabyte,
	})
	if err != nil {
		return err
	}
	go func() {
		if server.WaitMount() == nil {
			sayReady()
		}
	}()
	server.Serve()
	return nil
}

// rootHandle asks mountd for the handle of the exported folder (RFC 1813 section 5.2.1).
func (m *mountRequest) rootHandle() ([]byte, error) {
	port := m.mountPort
	if port == 0 {
		var err error
		if port, err = portOf(m.host, mountProgram, mountVersion); err != nil {
			return nil, fmt.Errorf("portmapper: %w", err)
		}
	}
	c, err := newRPC(address(m.host, port), m.resvport, introducing)
	if err != nil {
		return nil, fmt.Errorf("mountd: %w", err)
	}
	defer c.close()
	args := &encoder{}
	args.str(m.path)
	d, errno := c.call(caller{cred: &cred{}}, mountProgram, mountVersion, 1, args.b)
	if errno != 0 {
		return nil, fmt.Errorf("mountd: %w", errno)
	}
	if status := d.u32(); status != 0 {
		return nil, fmt.Errorf("refused by server (mountstat3 %d)", status)
	}
	handle := append([]byte(nil), d.opaque()...)
	if d.bad || len(handle) == 0 {
		return nil, fmt.Errorf("mountd: bad answer")
	}
	return handle, nil
}

// portOf asks the server's portmapper for a program's TCP port (RFC 1833 section 3).
func portOf(host string, prog, vers uint32) (uint32, error) {
	c, err := newRPC(address(host, portmapPort), false, introducing)
	if err != nil {
		return 0, err
	}
	defer c.close()
	const tcp, getport = 6, 3
	args := &encoder{}
	for _, v := range []uint32{prog, vers, tcp, 0} {
		args.u32(v)
	}
	d, errno := c.call(caller{}, portmapProgram, portmapVersion, getport, args.b)
	if errno != 0 {
		return 0, errno
	}
	port := d.u32()
	if port == 0 || port > 65535 {
		return 0, fmt.Errorf("program %d version %d is not registered", prog, vers)
	}
	return port, nil
}

func address(host string, port uint32) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
