package block

import "sync"

// MaxFrameRaw bounds the content of a frame, in raw bytes: one region.
const MaxFrameRaw = 1 << 20

// MaxFrameBlocks bounds the blocks of a frame.
const MaxFrameBlocks = 256

// MaxFramePayload bounds the payloads of a frame: what MaxFrameRaw may encode to at worst.
const MaxFramePayload = MaxFrameRaw + MaxFrameRaw/64 + MaxFrameBlocks*64

// Frame is a message of one or more blocks. Its payloads lie one after another in Buf, which the frame owns until Free.
type Frame struct {
	Blocks []Block
	Buf    []byte // the blocks' payloads, in order, without gaps
	Done   func() // called once by Free; nil: nothing to give back
}

// Free gives the frame's memory back. The blocks' payloads must not be used afterwards.
func (f *Frame) Free() {
	if done := f.Done; done != nil {
		f.Done = nil
		done()
	}
}

// Raw returns the raw bytes of the frame's data blocks.
func (f *Frame) Raw() (n int64) {
	for i := range f.Blocks {
		n += int64(f.Blocks[i].Raw)
	}
	return n
}

var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, MaxFramePayload); return &b }}

// NewFrame returns an empty frame with a pooled buffer of capacity MaxFramePayload.
func NewFrame() *Frame {
	p := frameBuffers.Get().(*[]byte)
	return &Frame{Buf: (*p)[:0], Done: func() { frameBuffers.Put(p) }}
}

// Add encodes raw and appends it as a data block; it takes over b's Disk and Extents and fills in the rest.
func (f *Frame) Add(e *Encoder, b Block, raw []byte, level Level) {
	start := len(f.Buf)
	b.Kind, b.Raw, b.CRC = Data, len(raw), Checksum(raw)
	f.Buf, b.Codec = e.Encode(f.Buf, raw, level)
	b.Payload = f.Buf[start:len(f.Buf):len(f.Buf)]
	f.Blocks = append(f.Blocks, b)
}
