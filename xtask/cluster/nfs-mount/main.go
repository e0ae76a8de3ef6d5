// nfs-mount mounts NFSv3 exports through FUSE, on machines whose kernel has no NFS client. It is for the embedded test
// cluster alone: users' nodes have a kernel.
//
// Its file name decides what it is. As `mount.nfs host:/path folder -o options` it mounts. As `mount`, first in the
// kubelet's PATH, it mounts what is asked for with `-t nfs` and hands everything else to the machine's mount(8).
//
// The process that serves a mount is called `mount.nfs host:/path folder …`, has a session of its own, ends with the
// unmount, and logs to the file in NFS_MOUNT_LOG.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes of mount(8).
const (
	exitUsage = 1
	exitFail  = 32
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "mount" {
		if !asksForNFS(args) {
			execSystemMount()
		}
	}
	m, err := parseMount(args)
	switch {
	case err != nil:
		die(exitUsage, "%v", err)
	case m.fake:
	case os.Getenv(daemonMark) == "":
		startDaemon()
	default:
		os.Unsetenv(daemonMark)
		if err := m.serve(); err != nil {
			die(exitFail, "mounting %s: %v", m.spec, err)
		}
		logf("%s on %s unmounted", m.spec, m.dir)
	}
}

// asksForNFS: a new mount of type nfs. Binding or remounting one that exists needs nothing of NFS.
func asksForNFS(args []string) bool {
	nfs := false
	for i, arg := range args {
		value := ""
		if i+1 < len(args) {
			value = args[i+1]
		}
		switch {
		case arg == "-t" || arg == "--types":
			nfs = value == "nfs" || value == "nfs4"
		case strings.HasPrefix(arg, "--types="), strings.HasPrefix(arg, "-t"):
			kind := strings.TrimPrefix(strings.TrimPrefix(arg, "--types="), "-t")
			nfs = kind == "nfs" || kind == "nfs4"
		case arg == "-o" || arg == "--options":
			options := strings.Split(value, ",")
			if slices.ContainsFunc(options, func(o string) bool { return o == "bind" || o == "rbind" || o == "remount" || o == "move" }) {
				return false
			}
		case arg == "--bind" || arg == "-B" || arg == "--rbind" || arg == "-R" || arg == "--move" || arg == "-M":
			return false
		}
	}
	return nfs
}

func execSystemMount() {
	const system = "/bin/mount"
	err := syscall.Exec(system, append([]string{"mount"}, os.Args[1:]...), os.Environ())
	die(exitFail, "%s: %v", system, err)
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05.000 ")+"mount.nfs: "+format+"\n", args...)
}

func die(code int, format string, args ...any) {
	logf(format, args...)
	os.Exit(code)
}
