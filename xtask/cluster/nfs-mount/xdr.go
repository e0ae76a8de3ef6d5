package main

import "encoding/binary"

// XDR (RFC 4506).

type encoder struct{ b []byte }

func (e *encoder) u32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }
func (e *encoder) raw(p []byte) { e.b = append(e.b, p...) }
func (e *encoder) opaque(p []byte) {
	e.u32(uint32(len(p)))
	e.b = append(e.b, p...)
	for n := len(p); n%4 != 0; n++ {
		e.b = append(e.b, 0)
	}
}
func (e *encoder) str(s string) { e.opaque([]byte(s)) }

// decoder reads zeros beyond the end, and is bad from then on.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, min(max(n, 0), 64))
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) skip(n int)  { d.take(n) }
func (d *decoder) opaque() []byte {
	n := int(d.u32())
	if n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.take(n)
	d.take((4 - n%4) % 4)
	return p
}
