package block

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"failback/replication"
)

func part(raw, payload []byte) *Block {
	return &Block{Kind: Data, Extents: []replication.Extent{{Off: 0, End: int64(len(raw))}}, Codec: Stream, Raw: len(raw), CRC: Checksum(raw), Payload: payload}
}

func TestStreamDecodesPartByPart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	e, d := NewStreamEncoder(), NewStreamDecoder()
	past := noise(64 << 10)
	all, wire := 0, 0
	for i := range 300 { // more than the window
		raw := past[:1+r.IntN(len(past))] // seen before, but in the first
		if i%50 == 20 {
			raw = text(MaxRaw)
		}
		if i%50 == 30 {
			raw = make([]byte, 512)
			for k := range raw {
				raw[k] = byte(r.Uint32())
			}
		}
		if i%70 == 35 { // more than once each way
			e.SetLevel([]Level{LevelStreamBest, LevelStream}[i/70%2])
		}
		if i == 250 { // twice, without a part between
			e.SetLevel(LevelStream)
			e.SetLevel(LevelStreamBest)
		}
		b := part(raw, e.Encode(nil, raw))
		all, wire = all+len(raw), wire+len(b.Payload)
		if err := b.CheckOnLane(1 << 20); err != nil {
			t.Fatal(err)
		}
		got, err := d.Decode(b, make([]byte, MaxRaw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("part %d of %d bytes: wrong content, error %v", i, len(raw), err)
		}
	}
	if wire > all/16 {
		t.Errorf("%d bytes went as %d: parts do not stand on those before", all, wire)
	}
}

func TestPartOfAStreamIsForLanesOnly(t *testing.T) {
	b := part(text(4096), NewStreamEncoder().Encode(nil, text(4096)))
	if err := b.Check(1 << 20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v want ErrCorrupt: a journal can't hold it", err)
	}
	if _, err := b.Decode(make([]byte, MaxRaw)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v want ErrCorrupt", err)
	}
}

// TestPartThatLiesIsRefused: lengths, windows and orders that no encoder makes.
func TestPartThatLiesIsRefused(t *testing.T) {
	e := NewStreamEncoder()
	raw := text(MaxRaw)
	first := e.Encode(nil, raw)
	second := e.Encode(nil, noise(MaxRaw))
	third := e.Encode(nil, append(noise(MaxRaw/2), text(MaxRaw/2)...))
	wide, err := zstd.NewWriter(nil, zstd.WithWindowSize(2*StreamWindow), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	var far bytes.Buffer
	wide.Reset(&far)
	wide.Write(raw)
	wide.Flush()
	bomb, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][][]byte{
		"SecondFirst":    {second},
		"OneLeftOut":     {first, third},
		"Truncated":      {first[:len(first)-1]},
		"TwoAtOnce":      {append(bytes.Clone(first), second...)},
		"Nothing":        {first, {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}}, // a frame to be skipped
		"WindowTooWide":  {far.Bytes()},
		"LargerThanSaid": {bomb.EncodeAll(make([]byte, 1<<30/16), nil)},
		"Garbage":        {noise(MaxRaw)},
	} {
		d := NewStreamDecoder()
		for i, p := range parts {
			b := part(raw, p)
			if _, err := d.Decode(b, make([]byte, MaxRaw)); i == len(parts)-1 && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: got %v want ErrCorrupt", name, err)
			}
		}
	}
}

func TestFrameOfAStream(t *testing.T) {
	owner := NewBuffer()
	copy(owner.Bytes, text(3*MaxRaw))
	x := []replication.Extent{{Off: 0, End: MaxRaw}}
	pick := func(levels ...Level) func([]byte) Level { // one after the other
		return func([]byte) Level { now := levels[0]; levels = append(levels[1:], now); return now }
	}
	for name, alone := range map[string]func([]byte) Level{"Streamed": nil, "Alone": pick(LevelZstd2), "AloneAsTheyAre": pick(Raw), "AloneMixed": pick(LevelS2, Raw), "AloneMixedToo": pick(Raw, LevelZstd1)} {
		f := NewFrame()
		var e Encoder
		want := [][]byte{owner.Bytes[:MaxRaw], noise(5000), text(777), owner.Bytes[MaxRaw : 2*MaxRaw], noise(MaxRaw)}
		f.Add(&e, Block{Extents: x}, want[0], LevelStream, owner)
		f.Add(&e, Block{Extents: x}, want[1], LevelStream, nil)
		f.Add(&e, Block{Extents: x}, want[2], LevelZstd1, nil)
		f.Blocks = append(f.Blocks, Block{Kind: Zero, Extents: x})
		f.Add(&e, Block{Extents: x}, want[3], LevelStream, owner)
		f.Add(&e, Block{Extents: x}, want[4], LevelS2, nil)
		if !f.Streams() {
			t.Fatalf("%s: nothing streams", name)
		}
		if alone != nil {
			f.Alone(&e, alone)
		} else {
			f.Stream(NewStreamEncoder())
		}
		d := NewStreamDecoder()
		n := 0
		var payload []byte
		for i := range f.Blocks {
			b := &f.Blocks[i]
			payload = append(payload, b.Payload...)
			if b.Kind != Data {
				continue
			}
			got, err := []byte(nil), error(nil)
			if b.Codec == Stream {
				got, err = d.Decode(b, make([]byte, MaxRaw))
			} else {
				got, err = b.Decode(make([]byte, MaxRaw))
			}
			if err != nil || !bytes.Equal(got, want[n]) || alone != nil && b.Codec == Stream {
				t.Errorf("%s: block %d (%v): wrong content, error %v", name, i, b.Codec, err)
			}
			n++
		}
		if got := bytes.Join(f.Parts(), nil); !bytes.Equal(got, payload) {
			t.Errorf("%s: parts of %d bytes are not the payloads of %d", name, len(got), len(payload))
		}
		f.Free()
	}
	if owner.Shared() {
		t.Error("the buffer is still held")
	}
	owner.Release()
}

func FuzzStream(f *testing.F) {
	e := NewStreamEncoder()
	f.Add(4096, e.Encode(nil, text(4096)), 5000, e.Encode(nil, text(5000)))
	f.Add(MaxRaw, e.Encode(nil, noise(MaxRaw)), 1, []byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, raw1 int, part1 []byte, raw2 int, part2 []byte) {
		d := NewStreamDecoder()
		for _, b := range []Block{{Raw: raw1, Payload: part1}, {Raw: raw2, Payload: part2}} {
			b.Kind, b.Codec, b.Extents = Data, Stream, []replication.Extent{{Off: 0, End: int64(b.Raw)}}
			if b.CheckOnLane(1<<40) != nil {
				return
			}
			got, err := d.Decode(&b, make([]byte, MaxRaw))
			if err == nil && (len(got) != b.Raw || Checksum(got) != 0) {
				t.Fatal("accepted bytes that the checksum does not cover")
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v want ErrCorrupt", err)
			}
		}
	})
}

func BenchmarkStream(b *testing.B) {
	raw := append(noise(MaxRaw/4), text(MaxRaw*3/4)...)
	e := NewStreamEncoder()
	var dst []byte
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		dst = e.Encode(dst[:0], raw)
	}
}
