package transport

import (
	"fmt"
	"slices"
	"sync"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that everything but frames goes through
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
)

// Field numbers of messages Frame and BlockHeader in proto/replication.proto.
const (
	fieldFrameOpen    = 1
	fieldFrameBlocks  = 2
	fieldFramePayload = 15

	fieldBlockDisk    = 1
	fieldBlockKind    = 2
	fieldBlockExtents = 3
	fieldBlockCodec   = 4
	fieldBlockRaw     = 5
	fieldBlockCRC     = 6
	fieldBlockSize    = 7

	fieldBlockOriginDisk = 100
	fieldBlockOrigin     = 101
	fieldBlockHash       = 102
)

// maxMessage bounds every message of both services: a frame at its largest.
const maxMessage = block.MaxFramePayload + 256<<10

// wireFrame is message Frame without the copies that generated code would make: it is sent as a small header beside the payload buffer, and received into one
// pooled buffer that the blocks' payloads point into.
type wireFrame struct {
	open  *failbackpb.LaneOpen
	frame *block.Frame
	size  int // of the message, as it was received
}

// codec is the protobuf codec with a way of its own for frames. The bytes on the wire are plain protobuf.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*wireFrame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	return f.marshal()
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*wireFrame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	return f.unmarshal(data)
}

// framePool gives a frame's buffer back when gRPC has written its bytes to the connection.
type framePool struct{ frame *block.Frame }

func (p framePool) Get(int) *[]byte { panic("transport: a frame's pool only takes back") }
func (p framePool) Put(*[]byte)     { p.frame.Free() }

// receivePool lends the buffers that frames are received into: large ones are kept, all of one of two lengths, so that none is made, or cleared, for each frame.
type receivePool struct{}

// The lengths of buffers: a frame's up to the first is not worth keeping, most are up to the second.
const (
	smallFrame = 64 << 10
	usualFrame = block.FrameRaw + 64<<10
)

var (
	usualBuffers = sync.Pool{New: func() any { b := make([]byte, usualFrame); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, maxMessage); return &b }}
)

func (receivePool) Get(n int) *[]byte {
	var b *[]byte
	switch {
	case n <= smallFrame || n > maxMessage:
		b := make([]byte, n)
		return &b
	case n <= usualFrame:
		b = usualBuffers.Get().(*[]byte)
	default:
		b = largeBuffers.Get().(*[]byte)
	}
	*b = (*b)[:n]
	return b
}

func (receivePool) Put(b *[]byte) {
	switch cap(*b) {
	case usualFrame:
		usualBuffers.Put(b)
	case maxMessage:
		largeBuffers.Put(b)
	}
}

func (f *wireFrame) marshal() (mem.BufferSlice, error) {
	var head []byte
	if f.frame != nil {
		head = make([]byte, 0, 16+usualHeader*len(f.frame.Blocks))
	}
	if f.open != nil {
		b, err := proto.Marshal(f.open)
		if err != nil {
			return nil, fmt.Errorf("marshal lane open: %w", err)
		}
		head = protowire.AppendTag(head, fieldFrameOpen, protowire.BytesType)
		head = protowire.AppendBytes(head, b)
	}
	if f.frame == nil {
		return mem.BufferSlice{mem.SliceBuffer(head)}, nil
	}
	for i := range f.frame.Blocks {
		head = protowire.AppendTag(head, fieldFrameBlocks, protowire.BytesType)
		head = appendBlock(head, &f.frame.Blocks[i])
	}
	parts, size := f.frame.Parts(), 0
	for _, p := range parts {
		size += len(p)
	}
	if size == 0 {
		f.frame.Free()
		return mem.BufferSlice{mem.SliceBuffer(head)}, nil
	}
	head = protowire.AppendTag(head, fieldFramePayload, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(size))
	wire := append(make(mem.BufferSlice, 0, 1+len(parts)), mem.SliceBuffer(head))
	for _, p := range parts[:len(parts)-1] {
		wire = append(wire, mem.SliceBuffer(p))
	}
	last := parts[len(parts)-1]
	return append(wire, mem.NewBuffer(&last, framePool{f.frame})), nil // written last: with it, all is
}

// usualHeader is what the header of a block with one extent takes at most: larger ones grow.
const usualHeader = 64

// appendBlock appends message BlockHeader after its length.
func appendBlock(h []byte, b *block.Block) []byte {
	start := len(h)
	h = appendVarint(h, fieldBlockDisk, uint64(b.Disk))
	h = appendVarint(h, fieldBlockKind, uint64(b.Kind))
	n, last := 0, int64(0)
	for _, e := range b.Extents {
		n += protowire.SizeVarint(uint64(e.Off-last)) + protowire.SizeVarint(uint64(e.Len()))
		last = e.End
	}
	h = protowire.AppendTag(h, fieldBlockExtents, protowire.BytesType)
	h = protowire.AppendVarint(h, uint64(n))
	last = 0
	for _, e := range b.Extents {
		h = protowire.AppendVarint(h, uint64(e.Off-last))
		h = protowire.AppendVarint(h, uint64(e.Len()))
		last = e.End
	}
	switch b.Kind {
	case block.Repeat:
		h = appendVarint(h, fieldBlockRaw, uint64(b.Raw))
		h = appendVarint(h, fieldBlockOriginDisk, uint64(b.Origin.Disk))
		h = appendVarint(h, fieldBlockOrigin, uint64(b.Origin.Off))
		h = protowire.AppendTag(h, fieldBlockHash, protowire.BytesType)
		h = protowire.AppendBytes(h, b.Origin.Hash[:])
	case block.Data:
		h = appendVarint(h, fieldBlockCodec, uint64(b.Codec))
		h = appendVarint(h, fieldBlockRaw, uint64(b.Raw))
		h = protowire.AppendTag(h, fieldBlockCRC, protowire.Fixed32Type)
		h = protowire.AppendFixed32(h, b.CRC)
		h = appendVarint(h, fieldBlockSize, uint64(len(b.Payload)))
	}
	return insertLength(h, start)
}

// appendVarint appends a field that is not 0.
func appendVarint(h []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return h
	}
	return protowire.AppendVarint(protowire.AppendTag(h, field, protowire.VarintType), v)
}

// insertLength puts the length of what begins at start before it.
func insertLength(h []byte, start int) []byte {
	var length [10]byte
	n := protowire.AppendVarint(length[:0], uint64(len(h)-start))
	return slices.Insert(h, start, n...)
}

// unmarshal parses a frame from the peer: nothing in it is believed. The blocks are checked for form (block.Check does the rest, by disk size).
func (f *wireFrame) unmarshal(data mem.BufferSlice) error {
	buf := data.MaterializeToBuffer(receivePool{})
	b := buf.ReadOnlyData()
	f.size = len(b)
	var payload []byte
	f.open = nil
	f.frame = block.NewFrame()
	f.frame.Done = buf.Free
	ok := false
	defer func() {
		if !ok {
			f.frame.Free()
			f.frame = nil
		}
	}()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("frame: %w", protowire.ParseError(n))
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return fmt.Errorf("frame: field %d: %w", num, protowire.ParseError(n))
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return fmt.Errorf("frame: field %d: %w", num, protowire.ParseError(n))
		}
		b = b[n:]
		switch num {
		case fieldFrameOpen:
			f.open = &failbackpb.LaneOpen{}
			if err := proto.Unmarshal(v, f.open); err != nil {
				return fmt.Errorf("frame: lane open: %w", err)
			}
		case fieldFrameBlocks:
			if len(f.frame.Blocks) == block.MaxFrameBlocks {
				return fmt.Errorf("frame: more than %d blocks", block.MaxFrameBlocks)
			}
			blk, err := parseBlock(v)
			if err != nil {
				return fmt.Errorf("frame: block %d: %w", len(f.frame.Blocks), err)
			}
			f.frame.Blocks = append(f.frame.Blocks, blk.Block)
			if blk.size > 0 { // its place in the payload, which comes last
				f.frame.Blocks[len(f.frame.Blocks)-1].Payload = unplaced[:blk.size:blk.size]
			}
		case fieldFramePayload:
			payload = v
		}
	}
	if err := place(f.frame, payload); err != nil {
		return err
	}
	ok = true
	return nil
}

// unplaced lends its length to a payload that has not been found yet; its bytes are never read.
var unplaced [block.MaxPayload]byte

// place points each block's payload at its bytes.
func place(f *block.Frame, payload []byte) error {
	rest := payload
	for i := range f.Blocks {
		n := len(f.Blocks[i].Payload)
		if n > len(rest) {
			return fmt.Errorf("frame: payload of %d bytes ends within block %d", len(payload), i)
		}
		f.Blocks[i].Payload, rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return fmt.Errorf("frame: %d bytes of payload belong to no block", len(rest))
	}
	return nil
}

type parsedBlock struct {
	block.Block
	size int
}

func parseBlock(b []byte) (p parsedBlock, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return p, protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		switch {
		case num == fieldBlockExtents && typ == protowire.BytesType:
			x, m := protowire.ConsumeBytes(b)
			if m < 0 {
				return p, protowire.ParseError(m)
			}
			if p.Extents, err = parseExtents(x); err != nil {
				return p, err
			}
			b = b[m:]
			continue
		case num == fieldBlockHash && typ == protowire.BytesType:
			x, m := protowire.ConsumeBytes(b)
			if m < 0 {
				return p, protowire.ParseError(m)
			}
			if len(x) != len(p.Origin.Hash) {
				return p, fmt.Errorf("hash of %d bytes, want %d", len(x), len(p.Origin.Hash))
			}
			p.Origin.Hash, b = replication.Hash(x), b[m:]
			continue
		case typ == protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case typ == protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(b)
			v = uint64(w)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return p, protowire.ParseError(n)
		}
		b = b[n:]
		if typ != protowire.VarintType && typ != protowire.Fixed32Type {
			continue
		}
		switch num {
		case fieldBlockDisk:
			if v >= replication.MaxDisks {
				return p, fmt.Errorf("disk %d, at most %d", v, replication.MaxDisks)
			}
			p.Disk = replication.DiskNo(v)
		case fieldBlockKind:
			p.Kind = block.Kind(min(v, 255))
		case fieldBlockCodec:
			p.Codec = block.Codec(min(v, 255))
		case fieldBlockRaw:
			p.Raw = int(min(v, block.MaxRaw+1))
		case fieldBlockCRC:
			p.CRC = uint32(v)
		case fieldBlockSize:
			if v > block.MaxPayload {
				return p, fmt.Errorf("payload of %d bytes, at most %d", v, block.MaxPayload)
			}
			p.size = int(v)
		case fieldBlockOriginDisk:
			if v >= replication.MaxDisks {
				return p, fmt.Errorf("origin on disk %d, at most %d", v, replication.MaxDisks)
			}
			p.Origin.Disk = replication.DiskNo(v)
		case fieldBlockOrigin:
			if v > replication.MaxDiskSize {
				return p, fmt.Errorf("origin at %d", v)
			}
			p.Origin.Off = int64(v)
		}
	}
	return p, nil
}

func parseExtents(b []byte) ([]replication.Extent, error) {
	count := 0
	for _, c := range b {
		if c < 0x80 {
			count++
		}
	}
	if count/2 > block.MaxRanges {
		return nil, fmt.Errorf("%d extents, at most %d", count/2, block.MaxRanges)
	}
	x := make([]replication.Extent, 0, count/2)
	last := uint64(0)
	for len(b) > 0 {
		gap, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		length, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return nil, protowire.ParseError(m)
		}
		b = b[n+m:]
		if gap > replication.MaxDiskSize || length == 0 || length > replication.MaxDiskSize || last+gap+length > replication.MaxDiskSize {
			return nil, fmt.Errorf("extent of %d bytes, %d after %d", length, gap, last)
		}
		off := last + gap
		last = off + length
		x = append(x, replication.Extent{Off: int64(off), End: int64(last)})
	}
	return x, nil
}
