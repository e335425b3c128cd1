package vpn

import (
	"encoding/binary"
	"net/netip"
)

// tcp is what the link looks at in a packet of TCP over IPv4.
type tcp struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
	payload  int
}

// Flags of TCP.
const (
	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4
)

// parse returns what p is; false: another protocol, or the later part of a packet.
func parse(p []byte) (t tcp, ok bool) {
	if len(p) < 40 || p[0]>>4 != 4 || p[9] != 6 || binary.BigEndian.Uint16(p[6:])&0x1fff != 0 {
		return t, false
	}
	ip := int(p[0]&15) * 4
	if len(p) < ip+20 {
		return t, false
	}
	h := p[ip:]
	head := ip + int(h[12]>>4)*4
	if len(p) < head {
		return t, false
	}
	src, _ := netip.AddrFromSlice(p[12:16])
	dst, _ := netip.AddrFromSlice(p[16:20])
	return tcp{
		from: netip.AddrPortFrom(src, binary.BigEndian.Uint16(h)), to: netip.AddrPortFrom(dst, binary.BigEndian.Uint16(h[2:])),
		seq: binary.BigEndian.Uint32(h[4:]), ack: binary.BigEndian.Uint32(h[8:]), flags: h[13], payload: len(p) - head,
	}, true
}

// refusal returns the packet by which the link tells the sender of t that its connection is not known.
func (t tcp) refusal() []byte {
	p := make([]byte, 40)
	p[0], p[8], p[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(p[2:], 40)
	src, dst := t.to.Addr().As4(), t.from.Addr().As4()
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	h := p[20:]
	binary.BigEndian.PutUint16(h, t.to.Port())
	binary.BigEndian.PutUint16(h[2:], t.from.Port())
	binary.BigEndian.PutUint32(h[4:], t.ack) // what it expects next, or it does not believe it (RFC 5961)
	h[12], h[13] = 5<<4, flagRST
	binary.BigEndian.PutUint16(p[10:], checksum(0, p[:20]))
	pseudo := sum(sum(0, p[12:20]), []byte{0, 6, 0, 20})
	binary.BigEndian.PutUint16(h[16:], checksum(pseudo, h))
	return p
}

func sum(s uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func checksum(s uint32, b []byte) uint16 {
	s = sum(s, b)
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}
