package block

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Level says how much work an Encoder spends: the ladder along which a sender adapts.
type Level uint8

// The levels, cheapest first.
const (
	Raw        Level = iota // no compression
	LevelLZ4                // lz4, fast
	LevelS2                 // s2
	LevelZstd1              // zstd, fastest
	LevelZstd2              // zstd, default

	// Not for an Encoder, but for a StreamEncoder.
	LevelStream     // zstd, better, as part of a lane's stream
	LevelStreamBest // zstd, best: six times the work, for a sixteenth less
)

// Streams says whether what is encoded at the level is part of a lane's stream.
func (l Level) Streams() bool { return l >= LevelStream }

// levelNames are what settings and status call the levels.
var levelNames = [...]string{Raw: "none", LevelLZ4: "lz4", LevelS2: "s2", LevelZstd1: "zstd", LevelZstd2: "zstd-better", LevelStream: "zstd-stream", LevelStreamBest: "zstd-stream-best"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// ParseLevel is the inverse of Level.String.
func ParseLevel(s string) (Level, error) {
	for l, name := range levelNames {
		if name == s {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("%q is none of none, lz4, s2, zstd, zstd-better, zstd-stream, zstd-stream-best", s)
}

// minSaving is the share of a block that compression must save to be kept: 1/16. Below it the receiver's time is not worth the wire's.
const minSaving = 16

// Encoder compresses blocks. It is not safe for concurrent use; each worker has its own.
type Encoder struct {
	lz4 lz4.Compressor
}

// Encode appends the encoded raw bytes to dst and returns the result and the codec used: None when compressing would not save at least a sixteenth.
// It takes 1 to MaxRaw bytes.
func (e *Encoder) Encode(dst, raw []byte, level Level) ([]byte, Codec) {
	dst, codec := e.compress(dst, raw, level)
	if codec == None {
		dst = append(dst, raw...)
	}
	return dst, codec
}

// compress is Encode, but for None, of which it appends nothing.
func (e *Encoder) compress(dst, raw []byte, level Level) ([]byte, Codec) {
	n := len(dst)
	codec := None
	switch level {
	case LevelLZ4:
		dst = grow(dst, lz4.CompressBlockBound(len(raw)))
		m, err := e.lz4.CompressBlock(raw, dst[n:cap(dst)])
		if err != nil || m == 0 {
			return dst[:n], None
		}
		codec, dst = LZ4, dst[:n+m]
	case LevelS2:
		codec = S2
		dst = grow(dst, s2.MaxEncodedLen(len(raw)))
		dst = dst[:n+len(s2.Encode(dst[n:n+s2.MaxEncodedLen(len(raw))], raw))]
	case LevelZstd1:
		codec, dst = Zstd, zstdFastest().EncodeAll(raw, dst)
	case LevelZstd2:
		codec, dst = Zstd, zstdDefault().EncodeAll(raw, dst)
	}
	if len(dst)-n > len(raw)-len(raw)/minSaving {
		return dst[:n], None
	}
	return dst, codec
}

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	g := make([]byte, len(b), len(b)+n)
	copy(g, b)
	return g
}

var zstdFastest = sync.OnceValue(func() *zstd.Encoder { return zstdEncoder(zstd.SpeedFastest) })
var zstdDefault = sync.OnceValue(func() *zstd.Encoder { return zstdEncoder(zstd.SpeedDefault) })

func zstdEncoder(l zstd.EncoderLevel) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithWindowSize(MaxRaw),
		zstd.WithAllLitEntropyCompression(true)) // numbers, sound, base64: nothing repeats in them, and a quarter of them can be saved all the same
	if err != nil {
		panic(err) // constant options
	}
	return e
}

var zstdReader = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxRaw), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // constant options
	}
	return d
})

// Decode returns the block's raw bytes after checking them against its checksum. They are in dst's memory, which must have a capacity of at
// least b.Raw, or, for codec None, in the payload itself. Only for Data blocks that Check has passed. Safe for concurrent use.
func (b *Block) Decode(dst []byte) ([]byte, error) { return b.decode(dst, b.decompress) }

func (b *Block) decode(dst []byte, decompress func(dst []byte) ([]byte, error)) ([]byte, error) {
	if cap(dst) < b.Raw {
		panic(fmt.Sprintf("block: decode of %d bytes into a buffer of %d", b.Raw, cap(dst)))
	}
	raw, err := decompress(dst[:b.Raw])
	if err != nil {
		return nil, fmt.Errorf("%w: disk %d at %d: %v: %v", ErrCorrupt, b.Disk, b.Extents[0].Off, b.Codec, err)
	}
	if len(raw) != b.Raw {
		return nil, fmt.Errorf("%w: disk %d at %d: decodes to %d bytes, want %d", ErrCorrupt, b.Disk, b.Extents[0].Off, len(raw), b.Raw)
	}
	if got := Checksum(raw); got != b.CRC {
		return nil, fmt.Errorf("%w: disk %d at %d: checksum %08x, want %08x", ErrCorrupt, b.Disk, b.Extents[0].Off, got, b.CRC)
	}
	return raw, nil
}

func (b *Block) decompress(dst []byte) ([]byte, error) {
	switch b.Codec {
	case None:
		return b.Payload, nil
	case LZ4:
		n, err := lz4.UncompressBlock(b.Payload, dst)
		return dst[:max(n, 0)], err
	case S2:
		if n, err := s2.DecodedLen(b.Payload); err != nil || n != len(dst) {
			return nil, fmt.Errorf("says it decodes to %d bytes (%v)", n, err)
		}
		return s2.Decode(dst, b.Payload)
	case Zstd:
		return zstdReader().DecodeAll(b.Payload, dst[:0:len(dst)])
	}
	return nil, fmt.Errorf("unknown")
}
