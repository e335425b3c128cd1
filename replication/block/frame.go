package block

import (
	"sync"
	"sync/atomic"
)

// MaxFrameRaw bounds the content of a frame, in raw bytes: one region.
const MaxFrameRaw = 1 << 20

// FrameRaw is how much content a sender puts into a frame where nothing wants less: what a core's cache holds from its reading and its checksum to the socket, and at the other end from there to the checksum.
const FrameRaw = 256 << 10

// MaxFrameBlocks bounds the blocks of a frame.
const MaxFrameBlocks = 256

// MaxFrameExtents bounds the extents of all blocks of a frame: a quarter of a megabyte of header, at worst.
const MaxFrameExtents = 16 << 10

// MaxFramePayload bounds the payloads of a frame: what MaxFrameRaw may encode to at worst.
const MaxFramePayload = MaxFrameRaw + MaxFrameRaw/64 + MaxFrameBlocks*64

// Frame is a message of one or more blocks. It owns what their payloads lie in, until Free.
type Frame struct {
	Blocks []Block
	Done   func() // called once by Free; nil: nothing to give back

	buf    []byte    // encoded payloads
	pooled *[]byte   // what buf's memory goes back to the pool as; nil: nothing was encoded
	parts  [][]byte  // all payloads, in order, neighbours in memory as one
	tail   *byte     // begin of the memory of buf, if the last part ends where buf does
	held   []*Buffer // where payloads lie that were not encoded

	streams bool // has blocks of codec Stream whose payload is still their raw content
}

// Free gives the frame's memory back. The blocks' payloads must not be used afterwards.
func (f *Frame) Free() {
	f.release()
	if f.pooled != nil {
		frameBuffers.Put(f.pooled)
		f.pooled, f.buf = nil, nil
	}
	if done := f.Done; done != nil {
		f.Done = nil
		done()
	}
}

// Raw returns the raw bytes of the frame's data blocks, and those that its repeats stand for: what taking the frame costs.
func (f *Frame) Raw() (n int64) {
	for i := range f.Blocks {
		n += int64(f.Blocks[i].Raw)
	}
	return n
}

// Parts returns the payloads of a frame made by Add, in order, in as few pieces as they lie in memory.
func (f *Frame) Parts() [][]byte { return f.parts }

var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, MaxFramePayload); return &b }}

// usual is a frame with room for what most have: the blocks of FrameRaw.
type usual struct {
	Frame
	blocks [FrameRaw / MaxRaw]Block
	parts  [2][]byte
	held   [2]*Buffer
}

// NewFrame returns an empty frame.
func NewFrame() *Frame {
	u := &usual{}
	u.Blocks, u.Frame.parts, u.Frame.held = u.blocks[:0], u.parts[:0], u.held[:0]
	return &u.Frame
}

// room makes buf a pooled buffer of capacity MaxFramePayload, if it is none yet.
func (f *Frame) room() {
	if f.pooled == nil {
		f.pooled = frameBuffers.Get().(*[]byte)
		f.buf = (*f.pooled)[:0]
	}
}

// Add encodes raw and appends it as a data block; it takes over b's Disk and Extents and fills in the rest. Where raw lies in owner (which may be nil) and does
// not compress, it is not copied: the frame points at it, and holds owner. At a level of streams nothing is encoded yet: Stream has to be called.
func (f *Frame) Add(e *Encoder, b Block, raw []byte, level Level, owner *Buffer) {
	b.Kind, b.Raw, b.CRC = Data, len(raw), Checksum(raw)
	codec := None
	if level != Raw && !level.Streams() || owner == nil {
		f.room()
	}
	start := len(f.buf)
	if !level.Streams() {
		f.buf, codec = e.compress(f.buf, raw, level)
	}
	if b.Codec = codec; level.Streams() {
		b.Codec, f.streams = Stream, true
	}
	if codec == None && owner != nil {
		b.Payload = raw
		f.addPart(raw)
		if n := len(f.held); n == 0 || f.held[n-1] != owner {
			owner.retain()
			f.held = append(f.held, owner)
		}
		f.Blocks = append(f.Blocks, b)
		return
	}
	if codec == None {
		f.buf = append(f.buf, raw...)
	}
	b.Payload = f.addEncoded(start)
	f.Blocks = append(f.Blocks, b)
}

// addEncoded appends what of buf begins at start as a part, or to the last one where that ends there.
func (f *Frame) addEncoded(start int) []byte {
	if n := len(f.parts); f.tail == &f.buf[0] { // not moved by growing
		f.parts[n-1] = f.parts[n-1][:len(f.parts[n-1])+len(f.buf)-start]
	} else {
		f.parts = append(f.parts, f.buf[start:])
	}
	f.tail = &f.buf[0]
	return f.buf[start:len(f.buf):len(f.buf)]
}

// addPart appends a part that lies elsewhere than in buf. What lies behind the last part in memory is one part with it: fewer are fewer for all who handle them.
func (f *Frame) addPart(p []byte) {
	f.tail = nil
	if n := len(f.parts); n > 0 {
		if last := f.parts[n-1]; cap(last) > len(last) && &last[:len(last)+1][len(last)] == &p[0] && cap(last)-len(last) >= len(p) {
			f.parts[n-1] = last[:len(last)+len(p)]
			return
		}
	}
	f.parts = append(f.parts, p)
}

// Streams says whether blocks were added at a level of streams, which Stream or Alone has to encode before the frame is sent.
func (f *Frame) Streams() bool { return f.streams }

// Stream encodes the blocks that were added at a level of streams, in their order, as the next parts of a lane's stream, and tells how many bytes they have.
func (f *Frame) Stream(s *StreamEncoder) (raw int) {
	return f.encodeStreamed(func(dst, raw []byte) ([]byte, Codec) { return s.Encode(dst, raw), Stream })
}

// Alone encodes them each on its own, at the level that is given for its content, which is none of streams: for a lane that has no stream.
func (f *Frame) Alone(e *Encoder, level func(raw []byte) Level) (raw int) {
	return f.encodeStreamed(func(dst, raw []byte) ([]byte, Codec) { return e.compress(dst, raw, level(raw)) })
}

func (f *Frame) encodeStreamed(encode func(dst, raw []byte) ([]byte, Codec)) (raw int) {
	if !f.streams {
		return 0
	}
	f.room()
	f.streams, f.parts, f.tail = false, f.parts[:0], nil
	others := false
	for i := range f.Blocks {
		b := &f.Blocks[i]
		start := len(f.buf)
		if b.Codec == Stream {
			raw += b.Raw
			f.buf, b.Codec = encode(f.buf, b.Payload)
			if b.Codec != None {
				b.Payload = f.addEncoded(start)
				continue
			}
		}
		if len(b.Payload) > 0 { // it stays where it is
			f.addPart(b.Payload)
			others = true
		}
	}
	if !others { // nothing lies in them any more
		f.release()
	}
	return raw
}

// release lets go of the buffers.
func (f *Frame) release() {
	for _, b := range f.held {
		b.Release()
	}
	f.held = nil
}

// Buffer is pooled memory of MaxFrameRaw bytes that its owner reads into and frames may point at.
type Buffer struct {
	Bytes []byte
	refs  atomic.Int32
}

var buffers = sync.Pool{New: func() any { return &Buffer{Bytes: make([]byte, MaxFrameRaw)} }}

// NewBuffer returns a buffer with any content, held by the caller.
func NewBuffer() *Buffer {
	b := buffers.Get().(*Buffer)
	b.refs.Store(1)
	return b
}

func (b *Buffer) retain() { b.refs.Add(1) }

// Release lets go of the buffer.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		buffers.Put(b)
	case n < 0:
		panic("block: a buffer was released twice")
	}
}

// Shared says whether others than the caller hold the buffer: it must not be written then.
func (b *Buffer) Shared() bool { return b.refs.Load() > 1 }
