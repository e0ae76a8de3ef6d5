package main

import (
	"os"
	"os/exec"
	"syscall"
)

// daemonMark in the environment tells the process that it is the one to serve.
const daemonMark = "NFS_MOUNT_DAEMON"

// ready is the descriptor on which the daemon says that it has mounted.
const ready = 3

// startDaemon starts this program again in a session of its own and returns once it has mounted. If it cannot, what it
// logged is shown and the program ends.
func startDaemon() {
	name := os.Getenv("NFS_MOUNT_LOG")
	if name == "" {
		name = "/var/log/nfs-mount.log"
	}
	log, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		die(exitFail, "%v", err)
	}
	before, err := log.Seek(0, 2)
	if err != nil {
		die(exitFail, "%v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		die(exitFail, "%v", err)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = "mount.nfs"
	cmd.Env = append(os.Environ(), daemonMark+"=1")
	cmd.Dir = "/"
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		die(exitFail, "%v", err)
	}
	w.Close()
	if n, _ := r.Read(make([]byte, 1)); n == 1 {
		return
	}
	cmd.Wait()
	said := make([]byte, 4096)
	n, _ := log.ReadAt(said, before)
	os.Stderr.Write(said[:n])
	os.Exit(exitFail)
}

// sayReady tells startDaemon that the mount is there.
func sayReady() {
	w := os.NewFile(ready, "ready")
	w.Write([]byte{1})
	w.Close()
}
