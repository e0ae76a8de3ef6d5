package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOnlyNewMountsOfTypeNFSAreOurs(t *testing.T) {
	for line, ours := range map[string]bool{
		"-t nfs -o hard,nolock 192.0.2.1:/export /mnt": true,
		"-t nfs 192.0.2.1:/export /mnt":                true,
		"--types=nfs4 192.0.2.1:/export /mnt":          true,
		"-t tmpfs -o size=1m tmpfs /mnt":               false,
		"--bind /a /b":                                 false,
		"--no-canonicalize -o bind /a /b":              false,
		"-t nfs -o bind 192.0.2.1:/export /mnt":        false,
		"-t nfs -o remount,ro /mnt":                    false,
		"":                                             false,
	} {
		if asksForNFS(strings.Fields(line)) != ours {
			t.Errorf("mount %s: ours is %v", line, !ours)
		}
	}
}

func TestOptionsOfAKernelClientAreObeyed(t *testing.T) {
	line := "-t nfs -n -o nfsvers=3,soft,timeo=30,retrans=1,rsize=65536,wsize=1,actimeo=5 -o ro,noexec,mountport=20048 [2001:db8::1]:/a:/b /mnt"
	m, err := parseMount(strings.Fields(line))
	if err != nil {
		t.Fatal(err)
	}
	want := mountRequest{spec: "[2001:db8::1]:/a:/b", dir: "/mnt", host: "2001:db8::1", path: "/a:/b", mountPort: 20048,
		rsize: 65536, wsize: 1024, attrTTL: 5 * time.Second, soft: true, timeo: 30, retrans: 1, resvport: true,
		flags: syscall.MS_NODEV | syscall.MS_RDONLY | syscall.MS_NOEXEC}
	if *m != want {
		t.Errorf("%+v", *m)
	}
	if m.patience() != 6*time.Second {
		t.Error(m.patience())
	}
}

func TestWhatCannotBeServedIsRefused(t *testing.T) {
	for _, line := range []string{
		"-o vers=4.1 192.0.2.1:/export /mnt",
		"-t nfs4 192.0.2.1:/export /mnt",
		"-o port=nfs 192.0.2.1:/export /mnt",
		"192.0.2.1 /mnt",
		"192.0.2.1:/export",
	} {
		if _, err := parseMount(strings.Fields(line)); err == nil {
			t.Errorf("mount.nfs %s: not refused", line)
		}
	}
}
