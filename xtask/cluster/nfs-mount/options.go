package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const megabyte = 1 << 20

// mountRequest is a mount as its command line asks for it.
type mountRequest struct {
	spec, dir  string // host:/path and the folder
	host, path string
	fake       bool // -f: check the words, mount nothing

	port, mountPort uint32 // 0: ask the server's portmapper
	rsize, wsize    uint32
	attrTTL         time.Duration
	sync            bool
	soft            bool
	timeo, retrans  uint32 // timeo in tenths of a second
	resvport        bool
	flags           uintptr // MS_…
}

// parseMount reads the command line of mount(8) or of a mount helper.
func parseMount(args []string) (*mountRequest, error) {
	m := &mountRequest{rsize: megabyte, wsize: megabyte, attrTTL: time.Second, timeo: 600, retrans: 2,
		resvport: true, flags: syscall.MS_NODEV}
	var words, options []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		hasValue := i+1 < len(args)
		switch {
		case (arg == "-o" || arg == "--options") && hasValue:
			i++
			options = append(options, strings.Split(args[i], ",")...)
		case strings.HasPrefix(arg, "--options="):
			options = append(options, strings.Split(arg[len("--options="):], ",")...)
		case (arg == "-t" || arg == "--types" || arg == "-N") && hasValue:
			i++
			if args[i] == "nfs4" {
				return nil, fmt.Errorf("only NFSv3 is spoken here, not type nfs4")
			}
		case arg == "-r" || arg == "--read-only":
			options = append(options, "ro")
		case arg == "-f" || arg == "--fake":
			m.fake = true
		case strings.HasPrefix(arg, "-"): // -n, -s, -v, -w, --no-canonicalize: as it is anyway
		default:
			words = append(words, arg)
		}
	}
	if len(words) != 2 {
		return nil, fmt.Errorf("usage: mount.nfs host:/path folder [-o options]")
	}
	m.spec, m.dir = words[0], words[1]
	host, path, found := strings.Cut(m.spec, ":/")
	if !found || host == "" {
		return nil, fmt.Errorf("%q is not host:/path", m.spec)
	}
	m.host, m.path = strings.Trim(host, "[]"), "/"+path
	for _, option := range options {
		if err := m.apply(option); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// apply obeys one option. What nfs(5) knows and is not here (hard, nolock, proto=tcp, sec=sys, rw …) is how this works
// anyway.
func (m *mountRequest) apply(option string) error {
	key, value, _ := strings.Cut(option, "=")
	number := func(to *uint32) error {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("bad option %q", option)
		}
		*to = uint32(n)
		return nil
	}
	size := func(to *uint32) error {
		err := number(to)
		*to = min(max(*to, 1024), megabyte)
		return err
	}
	switch key {
	case "vers", "nfsvers":
		if value != "3" {
			return fmt.Errorf("only NFSv3 is spoken here, not %q", option)
		}
	case "port":
		return number(&m.port)
	case "mountport":
		return number(&m.mountPort)
	case "timeo":
		return number(&m.timeo)
	case "retrans":
		return number(&m.retrans)
	case "rsize":
		return size(&m.rsize)
	case "wsize":
		return size(&m.wsize)
	case "actimeo", "acregmin":
		var seconds uint32
		err := number(&seconds)
		m.attrTTL = time.Duration(seconds) * time.Second
		return err
	case "noac":
		m.attrTTL, m.sync = 0, true
	case "sync":
		m.sync = true
	case "soft", "softerr":
		m.soft = true
	case "noresvport":
		m.resvport = false
	case "ro":
		m.flags |= syscall.MS_RDONLY
	case "nosuid":
		m.flags |= syscall.MS_NOSUID
	case "noexec":
		m.flags |= syscall.MS_NOEXEC
	case "noatime":
		m.flags |= syscall.MS_NOATIME
	}
	return nil
}

// patience is how long a call waits for its answer; 0 for ever.
func (m *mountRequest) patience() time.Duration {
	if !m.soft {
		return 0
	}
	return time.Duration(m.timeo*(m.retrans+1)) * 100 * time.Millisecond
}
