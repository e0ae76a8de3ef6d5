package main

// What a mount promises, tried on two mounts of one export: NFS_A and NFS_B name them. `cargo xtask test --suite nfs`
// makes them, runs this as uid 65532, and does to the server what a line on standard output asks for.

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// here and there return paths of one new folder through either mount.
func twoMounts(t *testing.T) (here, there func(name string) string) {
	t.Helper()
	a, b := os.Getenv("NFS_A"), os.Getenv("NFS_B")
	if a == "" || b == "" {
		t.Skip("no mounts: NFS_A and NFS_B")
	}
	folder := strings.ReplaceAll(t.Name(), "/", "-")
	must(t, os.Mkdir(filepath.Join(a, folder), 0o700))
	t.Cleanup(func() {
		must(t, os.RemoveAll(filepath.Join(a, folder)))
		if _, err := os.Stat(filepath.Join(b, folder)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder is still there: %v", err)
		}
	})
	return func(name string) string { return filepath.Join(a, folder, name) },
		func(name string) string { return filepath.Join(b, folder, name) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o600)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, f *os.File, data string) {
	t.Helper()
	_, err := f.WriteString(data)
	must(t, err)
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

func expect[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %.80v, want %.80v", got, want)
	}
}

func expectErrno(t *testing.T, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func hiddenFiles(t *testing.T, folder string) int {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	count := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".nfs") {
			count++
		}
	}
	return count
}

// ask has the server crashed or hung by whoever runs this test, and returns when it was done.
func ask(t *testing.T, what string) {
	t.Helper()
	fmt.Printf("\nplease: %s\n", what)
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal("nobody answers: ", err)
	}
}

var answers = bufio.NewReader(os.Stdin)

func TestWhatIsSyncedIsSeenByTheOtherMountWhileTheFileIsOpen(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("wal"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND)
	want := ""
	for i := range 100 {
		record := fmt.Sprintf("%06d\n", i)
		write(t, f, record)
		must(t, f.Sync())
		want += record
	}
	expect(t, content(t, there("wal")), want)
}

func TestAFileIsCreatedExclusivelyOnce(t *testing.T) {
	here, there := twoMounts(t)
	open(t, here("file"), os.O_CREATE|os.O_EXCL|os.O_RDWR)
	for _, path := range []string{here("file"), there("file")} {
		_, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		expectErrno(t, err, syscall.EEXIST)
	}
}

func TestALinkIsMadeOnce(t *testing.T) {
	here, there := twoMounts(t)
	must(t, os.WriteFile(here("ours"), []byte("ours"), 0o600))
	must(t, os.WriteFile(there("theirs"), []byte("theirs"), 0o600))
	must(t, os.Link(here("ours"), here("epoch")))
	expectErrno(t, os.Link(there("theirs"), there("epoch")), syscall.EEXIST)
	expect(t, content(t, there("epoch")), "ours")
}

func TestARenameReplacesItsTarget(t *testing.T) {
	here, there := twoMounts(t)
	must(t, os.WriteFile(here("target"), []byte("one"), 0o600))
	must(t, os.WriteFile(here("source"), []byte("two!"), 0o600))
	must(t, os.Rename(here("source"), here("target")))
	must(t, open(t, here(""), os.O_RDONLY).Sync())
	expect(t, content(t, here("target")), "two!")
	expect(t, content(t, there("target")), "two!")
	_, err := os.Stat(there("source"))
	expectErrno(t, err, syscall.ENOENT)
}

func TestAnOpenFileThatIsReplacedKeepsItsContentUntilItIsClosed(t *testing.T) {
	here, _ := twoMounts(t)
	must(t, os.WriteFile(here("target"), []byte("old"), 0o600))
	f := open(t, here("target"), os.O_RDONLY)
	must(t, os.WriteFile(here("source"), []byte("new"), 0o600))
	must(t, os.Rename(here("source"), here("target")))
	old := make([]byte, 3)
	_, err := f.ReadAt(old, 0)
	must(t, err)
	expect(t, string(old), "old")
	expect(t, content(t, here("target")), "new")
	expect(t, hiddenFiles(t, here("")), 1)
	must(t, f.Close())
	time.Sleep(200 * time.Millisecond)
	expect(t, hiddenFiles(t, here("")), 0)
}

func TestAnOpenFileThatIsRemovedStaysReadableAndWritable(t *testing.T) {
	here, _ := twoMounts(t)
	f := open(t, here("file"), os.O_CREATE|os.O_RDWR)
	write(t, f, "abc")
	must(t, os.Remove(here("file")))
	write(t, f, "def")
	must(t, f.Sync())
	data := make([]byte, 6)
	_, err := f.ReadAt(data, 0)
	must(t, err)
	expect(t, string(data), "abcdef")
	must(t, f.Close())
	time.Sleep(200 * time.Millisecond)
}

func TestAnOpenFileThatAnotherClientRemovesIsStale(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("file"), os.O_CREATE|os.O_RDWR)
	must(t, os.Remove(there("file")))
	time.Sleep(1200 * time.Millisecond) // the attributes' time
	_, err := f.Stat()
	expectErrno(t, err, syscall.ESTALE)
}

func TestTruncatingCutsAndExtends(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("file"), os.O_CREATE|os.O_RDWR)
	write(t, f, strings.Repeat("x", 10000))
	must(t, f.Truncate(1234))
	must(t, f.Sync())
	info, err := os.Stat(there("file"))
	must(t, err)
	expect(t, info.Size(), 1234)
	must(t, f.Truncate(5000))
	expect(t, content(t, here("file")), strings.Repeat("x", 1234)+strings.Repeat("\x00", 5000-1234))
	must(t, os.Truncate(here("file"), 0))
	expect(t, content(t, there("file")), "")
}

func TestALargeFolderIsListedWholeAndEmptiedWhileItIsListed(t *testing.T) {
	here, there := twoMounts(t)
	var want []string
	for i := range 3000 {
		want = append(want, fmt.Sprintf("f%05d", i))
		must(t, os.WriteFile(here(want[i]), nil, 0o600))
	}
	entries, err := os.ReadDir(there(""))
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Fatalf("%d names", len(names))
	}
	folder := open(t, here(""), os.O_RDONLY)
	for {
		some, err := folder.Readdirnames(100)
		for _, name := range some {
			must(t, os.Remove(here(name)))
		}
		if err != nil {
			break
		}
	}
	entries, err = os.ReadDir(there(""))
	must(t, err)
	expect(t, len(entries), 0)
}

func TestNamesModesAndTimesAreTheServers(t *testing.T) {
	here, there := twoMounts(t)
	must(t, os.WriteFile(here("file"), []byte("content"), 0o600))
	must(t, os.Symlink("file", here("symlink")))
	expect(t, content(t, there("symlink")), "content")
	must(t, syscall.Mkfifo(here("fifo"), 0o600))
	info, err := os.Stat(there("fifo"))
	must(t, err)
	expect(t, info.Mode().Type(), os.ModeNamedPipe)
	must(t, os.Chmod(here("file"), 0o640))
	when := time.Unix(1_000_000_000, 7)
	must(t, os.Chtimes(here("file"), when, when))
	info, err = os.Stat(there("file"))
	must(t, err)
	expect(t, info.Mode().Perm(), 0o640)
	expect(t, info.ModTime().Equal(when), true)
	_, err = os.Create(here(strings.Repeat("n", 256)))
	expectErrno(t, err, syscall.ENAMETOOLONG)
}

func TestLargeAndSparseFilesArriveWhole(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("sparse"), os.O_CREATE|os.O_WRONLY)
	_, err := f.WriteAt([]byte("end"), 3<<30)
	must(t, err)
	must(t, f.Close())
	info, err := os.Stat(there("sparse"))
	must(t, err)
	expect(t, info.Size(), 3<<30+3)
	blob := make([]byte, 20<<20)
	rand.Read(blob)
	must(t, os.WriteFile(here("blob"), blob, 0o600))
	if got, err := os.ReadFile(there("blob")); err != nil || !bytes.Equal(got, blob) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestMappedAndDirectWritesArrive(t *testing.T) {
	here, there := twoMounts(t)
	mapped := open(t, here("mapped"), os.O_CREATE|os.O_RDWR)
	must(t, mapped.Truncate(8192))
	memory, err := syscall.Mmap(int(mapped.Fd()), 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(t, err)
	copy(memory[100:], "hello")
	must(t, syscall.Munmap(memory))
	must(t, mapped.Sync())
	expect(t, content(t, there("mapped"))[100:105], "hello")

	const block = 4096
	buffer := make([]byte, 2*block)
	aligned := buffer[block-uintptr(unsafe.Pointer(&buffer[0]))%block:][:block]
	direct := open(t, here("direct"), os.O_CREATE|os.O_RDWR|syscall.O_DIRECT)
	copy(aligned, strings.Repeat("D", block))
	_, err = direct.Write(aligned)
	must(t, err)
	must(t, direct.Close())
	expect(t, content(t, there("direct")), strings.Repeat("D", block))
}

// The fence of a store: what another client wrote is read past every cache, on a descriptor that was open before.
func TestADirectReadSeesAtOnceWhatAnotherClientWrote(t *testing.T) {
	here, there := twoMounts(t)
	const block = 4096
	must(t, os.WriteFile(here("seal"), make([]byte, block), 0o600))
	buffer := make([]byte, 2*block)
	aligned := buffer[block-uintptr(unsafe.Pointer(&buffer[0]))%block:][:block]
	seal := open(t, here("seal"), os.O_RDONLY|syscall.O_DIRECT)
	for i := byte(1); i < 50; i++ {
		other := open(t, there("seal"), os.O_WRONLY)
		_, err := other.WriteAt([]byte{i}, 0)
		must(t, err)
		must(t, other.Sync())
		_, err = seal.ReadAt(aligned, 0)
		must(t, err)
		expect(t, aligned[0], i)
	}
}

func TestWhatWasClosedIsSeenByWhoOpensNext(t *testing.T) {
	here, there := twoMounts(t)
	for i := range 50 {
		version := fmt.Sprintf("v%02d", i)
		must(t, os.WriteFile(here("file"), []byte(version), 0o600))
		expect(t, content(t, there("file")), version)
	}
}

func TestLocksExcludeOnOneMount(t *testing.T) {
	here, _ := twoMounts(t)
	first := open(t, here("file"), os.O_CREATE|os.O_RDWR)
	second := open(t, here("file"), os.O_RDWR)
	must(t, syscall.Flock(int(first.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	expectErrno(t, syscall.Flock(int(second.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
	must(t, first.Close())
	must(t, syscall.Flock(int(second.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
}

func TestWritersOnBothMountsKeepTheirOrder(t *testing.T) {
	here, there := twoMounts(t)
	record := func(k, i int) string { return fmt.Sprintf("%08d%08d", k, i) }
	var all sync.WaitGroup
	for k := range 8 {
		path := []func(string) string{here, there}[k%2](fmt.Sprint(k))
		f := open(t, path, os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		all.Go(func() {
			for i := range 200 {
				if _, err := f.WriteString(record(k, i)); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for k := range 8 {
		want := ""
		for i := range 200 {
			want += record(k, i)
		}
		expect(t, content(t, []func(string) string{there, here}[k%2](fmt.Sprint(k))), want)
	}
}

func TestSyncedRecordsSurviveCrashesOfTheServer(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("wal"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
	want := ""
	for i := range 300 {
		if i%100 == 50 {
			write(t, f, "before the crash\n")
			want += "before the crash\n"
			ask(t, "crash")
		}
		record := fmt.Sprintf("%06d\n", i)
		write(t, f, record)
		must(t, f.Sync())
		want += record
	}
	expect(t, content(t, there("wal")), want)
}

func TestWritesSentAgainAfterACrashDoNotOvertakeNewerOnes(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("file"), os.O_CREATE|os.O_WRONLY)
	_, err := f.WriteAt([]byte("older"), 0)
	must(t, err)
	ask(t, "crash")
	_, err = f.WriteAt([]byte("newer"), 0)
	must(t, err)
	must(t, f.Sync())
	expect(t, content(t, there("file")), "newer")
}

func TestCallsWaitForAServerThatHangs(t *testing.T) {
	here, there := twoMounts(t)
	f := open(t, here("file"), os.O_CREATE|os.O_WRONLY)
	ask(t, "hang")
	start := time.Now()
	write(t, f, "content")
	must(t, f.Sync())
	if waited := time.Since(start); waited < 500*time.Millisecond {
		t.Fatalf("waited %v: the server did not hang", waited)
	}
	expect(t, content(t, there("file")), "content")
}
