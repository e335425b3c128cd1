package transport

import "encoding/binary"

// Frames of HTTP/2 (RFC 9113, section 6), by their numbers on the wire, and flags of theirs.
const (
	h2Data         = 0
	h2Headers      = 1
	h2Reset        = 3
	h2Ping         = 6
	h2WindowUpdate = 8
	h2Continuation = 9

	h2EndStream = 0x1 // of DATA and HEADERS
	h2Padded    = 0x8
)

// h2Preface is the length of what a client says first: "PRI * HTTP/2.0" and what follows.
const h2Preface = 24

// h2Frames finds the frames of one way of an HTTP/2 connection, however its bytes come.
type h2Frames struct {
	preface int // bytes of a client's preface that have come; h2Preface for what a server says, which has none
	head    [9]byte
	have    int // bytes of head
	left    int // bytes of the frame's payload that are still to come
}

// h2Piece is the next of a frame: its begin, once, or some of its payload.
type h2Piece struct {
	kind, flags byte
	stream      uint32
	length      int    // of the whole payload
	payload     []byte // empty: the frame begins
}

// next returns what comes next in b, and what follows it; not ok: there is nothing yet.
func (f *h2Frames) next(b []byte) (p h2Piece, rest []byte, ok bool) {
	if f.preface < h2Preface {
		m := min(h2Preface-f.preface, len(b))
		f.preface, b = f.preface+m, b[m:]
	}
	if len(b) == 0 {
		return p, nil, false
	}
	if f.left > 0 {
		m := min(f.left, len(b))
		p, f.left = f.piece(), f.left-m
		p.payload = b[:m]
		return p, b[m:], true
	}
	m := copy(f.head[f.have:], b)
	if f.have, b = f.have+m, b[m:]; f.have < len(f.head) {
		return p, nil, false
	}
	p = f.piece()
	f.have, f.left = 0, p.length
	return p, b, true
}

func (f *h2Frames) piece() h2Piece {
	return h2Piece{kind: f.head[3], flags: f.head[4], stream: binary.BigEndian.Uint32(f.head[5:]) &^ (1 << 31), length: int(binary.BigEndian.Uint32(f.head[:]) >> 8)}
}
