package block

import (
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// StreamWindow is how far back in a stream content may stand on what came before it, in raw bytes. An encoder takes three times that and a little (its window twice, and tables); at
// LevelStreamBest, 34 MiB of tables more. A decoder takes that and half a MiB.
const StreamWindow = 4 << 20

// StreamEncoder makes blocks the parts of one zstd stream: each stands on those before it, and ends where its block does. It is not safe for concurrent use.
type StreamEncoder struct {
	z     *zstd.Encoder
	level Level
	into  []byte
	end   []byte // of the zstd frame at another level, not in a part yet
}

// NewStreamEncoder returns an encoder at the begin of a stream, at LevelStream.
func NewStreamEncoder() *StreamEncoder {
	s := &StreamEncoder{level: LevelStream}
	s.begin(zstd.SpeedBetterCompression)
	return s
}

// begin begins a zstd frame: nothing in it stands on what was before.
func (s *StreamEncoder) begin(speed zstd.EncoderLevel) {
	var err error
	s.z, err = zstd.NewWriter((*streamOut)(s), zstd.WithEncoderLevel(speed), zstd.WithEncoderCRC(false), zstd.WithWindowSize(StreamWindow), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // constant options
	}
}

// Level returns the level of the next part.
func (s *StreamEncoder) Level() Level { return s.level }

// SetLevel has the next parts encoded at another level of streams. The next one stands on nothing then: that costs about what a window saves.
func (s *StreamEncoder) SetLevel(level Level) {
	if level == s.level {
		return
	}
	speed := zstd.SpeedBetterCompression
	if level == LevelStreamBest {
		speed = zstd.SpeedBestCompression
	}
	s.into = s.end
	if err := s.z.Close(); err != nil {
		panic(fmt.Sprintf("block: end a stream in memory: %v", err))
	}
	s.end, s.into, s.level = s.into, nil, level
	s.begin(speed)
}

// streamStep is for how much content a stream has tables of its own: of files' content, a quarter of a percent is saved by having them twice a block.
const streamStep = 32 << 10

// Encode appends the stream's next part, which is raw, to dst. What does not compress grows by a few bytes.
func (s *StreamEncoder) Encode(dst, raw []byte) []byte {
	s.into = append(dst, s.end...)
	s.end = s.end[:0]
	for step := range slices.Chunk(raw, streamStep) {
		_, err := s.z.Write(step)
		if err == nil {
			err = s.z.Flush()
		}
		if err != nil {
			panic(fmt.Sprintf("block: encode in memory: %v", err))
		}
	}
	dst, s.into = s.into, nil
	return dst
}

// streamOut is where a StreamEncoder's zstd writes to.
type streamOut StreamEncoder

func (s *streamOut) Write(b []byte) (int, error) {
	s.into = append(s.into, b...)
	return len(b), nil
}

// StreamDecoder decodes the parts of one stream, in their order. What comes is not believed: its window is StreamWindow at most, and a part's content no longer than its header says, give or take what zstd
// decodes at a time, 128 KiB. It is not safe for concurrent use.
type StreamDecoder struct {
	z    *zstd.Decoder
	part []byte // that is not decoded yet
}

// NewStreamDecoder returns a decoder at the begin of a stream.
func NewStreamDecoder() *StreamDecoder {
	s := &StreamDecoder{}
	var err error
	s.z, err = zstd.NewReader((*streamIn)(s), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(StreamWindow))
	if err != nil {
		panic(err) // constant options
	}
	return s
}

// Decode is Block.Decode for the block of codec Stream that comes next. After an error there is no next one.
func (s *StreamDecoder) Decode(b *Block, dst []byte) ([]byte, error) {
	s.part = b.Payload
	return b.decode(dst, func(dst []byte) ([]byte, error) {
		n, err := io.ReadFull(s.z, dst)
		if err == nil && len(s.part) > 0 {
			err = fmt.Errorf("%d bytes of the stream's part are left over", len(s.part))
		}
		return dst[:n], err
	})
}

// streamIn is where a StreamDecoder's zstd reads from.
type streamIn StreamDecoder

func (s *streamIn) Read(b []byte) (int, error) {
	if len(s.part) == 0 { // zstd wants more than the part has
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(b, s.part)
	s.part = s.part[n:]
	return n, nil
}
