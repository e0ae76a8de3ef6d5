package main

// ONC RPC (RFC 5531) over TCP as a hard mount wants it: a call that got no answer is sent again, with the same xid,
// over every new connection, until it is answered.

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const maxRecord = 64 << 20

// cred is who asks: AUTH_SYS, or AUTH_NONE where nil.
type cred struct {
	uid, gid uint32
	gids     []uint32
}

// caller is on whose behalf a call waits. A fatal signal to its thread ends the wait, as on a hard mount.
type caller struct {
	cancel <-chan struct{} // closed when the kernel interrupts the request, or the mount is gone
	thread uint32          // 0: the kernel itself, which only interrupts when the mount is gone
	cred   *cred
}

// afterlife is how long a call of the kernel still waits when the mount is gone.
const afterlife = 10 * time.Second

type pendingCall struct {
	xid    uint32
	msg    []byte // record mark and call
	answer chan []byte
}

type rpcClient struct {
	addr     string
	resvport bool
	patience time.Duration // 0: for ever
	xid      atomic.Uint32

	sending sync.Mutex // held while a message is written to conn
	mu      sync.Mutex // of all below
	conn    net.Conn   // nil while there is none
	pending map[uint32]*pendingCall
	closed  bool
}

func newRPC(addr string, resvport bool, patience time.Duration) (*rpcClient, error) {
	c := &rpcClient{addr: addr, resvport: resvport, patience: patience, pending: map[uint32]*pendingCall{}}
	c.xid.Store(rand.Uint32())
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	c.conn = conn
	go c.stayConnected(conn)
	return c, nil
}

// dial prefers a port below 1024: many servers refuse others.
func (c *rpcClient) dial() (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	if c.resvport {
		const lowest, count = 665, 300
		start := rand.Intn(count)
		for i := range count {
			d.LocalAddr = &net.TCPAddr{Port: lowest + (start+i)%count}
			conn, err := d.Dial("tcp", c.addr)
			if err == nil {
				return conn, nil
			}
			if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
				return nil, err
			}
		}
	}
	d.LocalAddr = nil
	return d.Dial("tcp", c.addr)
}

func (c *rpcClient) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.Close()
	}
}

// stayConnected hands answers out; when the connection breaks it makes another, for ever.
func (c *rpcClient) stayConnected(conn net.Conn) {
	for {
		err := c.readAnswers(conn)
		conn.Close()
		c.mu.Lock()
		c.conn = nil
		closed, waiting := c.closed, len(c.pending)
		c.mu.Unlock()
		if closed {
			return
		}
		logf("server %s not responding, still trying (%v; %d calls waiting)", c.addr, err, waiting)
		pause := 50 * time.Millisecond
		for {
			if conn, err = c.dial(); err == nil {
				break
			}
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
		}
		logf("server %s OK", c.addr)
		c.resend(conn)
	}
}

func (c *rpcClient) readAnswers(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 1<<16)
	for {
		record, err := readRecord(r)
		if err != nil {
			return err
		}
		if len(record) < 4 {
			return errors.New("record without xid")
		}
		c.mu.Lock()
		p := c.pending[binary.BigEndian.Uint32(record)]
		c.mu.Unlock()
		if p != nil {
			select {
			case p.answer <- record:
			default: // answered before, over an earlier connection
			}
		}
	}
}

// readRecord joins the fragments of one record (RFC 5531 section 11).
func readRecord(r io.Reader) ([]byte, error) {
	var record []byte
	for {
		var mark [4]byte
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			return nil, err
		}
		m := binary.BigEndian.Uint32(mark[:])
		n, last := int(m&0x7fffffff), m>>31 == 1
		if len(record)+n > maxRecord {
			return nil, errors.New("oversized record")
		}
		old := len(record)
		record = append(record, make([]byte, n)...)
		if _, err := io.ReadFull(r, record[old:]); err != nil {
			return nil, err
		}
		if last {
			return record, nil
		}
	}
}

// resend makes conn the connection and sends what waits, in the order of the calls.
func (c *rpcClient) resend(conn net.Conn) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	c.conn = conn
	again := make([]*pendingCall, 0, len(c.pending))
	for _, p := range c.pending {
		again = append(again, p)
	}
	c.mu.Unlock()
	slices.SortFunc(again, func(a, b *pendingCall) int { return cmp.Compare(int32(a.xid-b.xid), 0) })
	for _, p := range again {
		conn.Write(p.msg) // a failure shows in readAnswers
	}
}

// call returns the procedure's results, or EINTR (the caller was killed), EIO (patience ended, or the server does not
// know the procedure) or EACCES.
func (c *rpcClient) call(by caller, prog, vers, proc uint32, args []byte) (*decoder, syscall.Errno) {
	p := &pendingCall{xid: c.xid.Add(1), answer: make(chan []byte, 1)}
	p.msg = message(p.xid, by.cred, prog, vers, proc, args)
	c.mu.Lock()
	c.pending[p.xid] = p
	conn := c.conn
	c.mu.Unlock()
	defer func() { c.mu.Lock(); delete(c.pending, p.xid); c.mu.Unlock() }()
	if conn != nil {
		c.sending.Lock()
		conn.Write(p.msg) // a failure shows in readAnswers, and resend sends again
		c.sending.Unlock()
	}
	var giveUp, look, gone <-chan time.Time
	if c.patience > 0 {
		t := time.NewTimer(c.patience)
		defer t.Stop()
		giveUp = t.C
	}
	cancel := by.cancel
	for {
		select {
		case record := <-p.answer:
			return results(record, prog, proc)
		case <-giveUp:
			logf("server %s not responding, timed out (soft)", c.addr)
			return nil, syscall.EIO
		case <-cancel: // some signal; from now on look whether it is, or becomes, a fatal one
			cancel = nil
			if by.thread == 0 {
				gone = time.After(afterlife)
				continue
			}
			if killed(by.thread) {
				return nil, syscall.EINTR
			}
			look = time.After(200 * time.Millisecond)
		case <-gone:
			return nil, syscall.EINTR
		case <-look:
			if killed(by.thread) {
				return nil, syscall.EINTR
			}
			look = time.After(200 * time.Millisecond)
		}
	}
}

var hostname, _ = os.Hostname()

func message(xid uint32, who *cred, prog, vers, proc uint32, args []byte) []byte {
	e := &encoder{b: make([]byte, 4, len(args)+256)}
	for _, v := range []uint32{xid, 0 /* call */, 2 /* RPC version */, prog, vers, proc} {
		e.u32(v)
	}
	if who == nil {
		e.u32(0)
		e.opaque(nil)
	} else {
		a := &encoder{}
		a.u32(uint32(time.Now().Unix()))
		a.str(hostname)
		a.u32(who.uid)
		a.u32(who.gid)
		gids := who.gids[:min(len(who.gids), 16)]
		a.u32(uint32(len(gids)))
		for _, g := range gids {
			a.u32(g)
		}
		e.u32(1)
		e.opaque(a.b)
	}
	e.u32(0)
	e.opaque(nil)
	e.raw(args)
	binary.BigEndian.PutUint32(e.b, uint32(len(e.b)-4)|1<<31)
	return e.b
}

func results(record []byte, prog, proc uint32) (*decoder, syscall.Errno) {
	d := &decoder{b: record[4:]}
	if d.u32() != 1 { // a reply
		return nil, syscall.EIO
	}
	if d.u32() != 0 { // denied
		return nil, syscall.EACCES
	}
	d.u32()
	d.opaque()
	if status := d.u32(); status != 0 || d.bad {
		logf("rpc program %d procedure %d: accept_stat %d", prog, proc, status)
		return nil, syscall.EIO
	}
	return d, 0
}

// killed: SIGKILL is pending for the thread, or it is gone.
func killed(thread uint32) bool {
	if thread == 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "SigPnd:"); ok && hasKill(set) {
			return true
		}
		if set, ok := strings.CutPrefix(line, "ShdPnd:"); ok && hasKill(set) {
			return true
		}
	}
	return false
}

func hasKill(set string) bool {
	var signals uint64
	fmt.Sscanf(strings.TrimSpace(set), "%x", &signals)
	return signals&(1<<(syscall.SIGKILL-1)) != 0
}
