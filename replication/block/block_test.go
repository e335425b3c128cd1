package block

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"testing"

	"failback/replication"
)

func text(n int) []byte {
	return bytes.Repeat([]byte("all disks of all machines stand at one point. "), n/46+1)[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func encode(raw []byte, l Level) *Block {
	var e Encoder
	p, c := e.Encode(nil, raw, l)
	return &Block{Kind: Data, Extents: []replication.Extent{{Off: 0, End: int64(len(raw))}}, Codec: c, Raw: len(raw), CRC: Checksum(raw), Payload: p}
}

func TestBlockDecodesToWhatWasEncoded(t *testing.T) {
	for l := Raw; l <= LevelZstd2; l++ {
		for _, raw := range [][]byte{text(1), text(512), text(4096), text(MaxRaw), noise(MaxRaw), noise(513), append(noise(30000), text(30000)...)} {
			b := encode(raw, l)
			if err := b.Check(1 << 20); err != nil {
				t.Fatalf("level %d, %d bytes: %v", l, len(raw), err)
			}
			got, err := b.Decode(make([]byte, MaxRaw))
			if err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("level %d, %d bytes: wrong content, error %v", l, len(raw), err)
			}
		}
	}
}

func TestIncompressibleStaysRaw(t *testing.T) {
	for l := Raw; l <= LevelZstd2; l++ {
		if b := encode(noise(MaxRaw), l); b.Codec != None {
			t.Errorf("level %d: got %v want none", l, b.Codec)
		}
	}
	for l := LevelLZ4; l <= LevelZstd2; l++ {
		if b := encode(text(MaxRaw), l); b.Codec == None {
			t.Errorf("level %d: text was not compressed", l)
		}
	}
}

// TestSkewedBytesAreCompressed has content in which nothing repeats, but which needs fewer bits than it has: base64.
func TestSkewedBytesAreCompressed(t *testing.T) {
	raw := []byte(base64.StdEncoding.EncodeToString(noise(MaxRaw)))[:MaxRaw]
	for l := LevelZstd1; l <= LevelZstd2; l++ {
		if b := encode(raw, l); b.Codec != Zstd || len(b.Payload) > MaxRaw*4/5 {
			t.Errorf("level %v: got %d bytes of %d, codec %v", l, len(b.Payload), MaxRaw, b.Codec)
		}
	}
}

// TestDamageIsFound flips each bit of small payloads and many of large ones: each must end in ErrCorrupt, never in other bytes.
func TestDamageIsFound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dst := make([]byte, MaxRaw)
	for l := Raw; l <= LevelZstd2; l++ {
		b := encode(text(9000), l)
		for range 2000 {
			i := r.IntN(len(b.Payload))
			b.Payload[i] ^= 1 << r.IntN(8)
			want := text(9000)
			if got, err := b.Decode(dst); err == nil && !bytes.Equal(got, want) {
				t.Fatalf("level %d: damage at %d gave other bytes", l, i)
			} else if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("level %d: got %v want ErrCorrupt", l, err)
			}
			b = encode(want, l)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	x := func(v ...int64) (e []replication.Extent) {
		for i := 0; i < len(v); i += 2 {
			e = append(e, replication.Extent{Off: v[i], End: v[i+1]})
		}
		return
	}
	for name, b := range map[string]Block{
		"NoExtent":        {Kind: Zero},
		"ZeroKind":        {Extents: x(0, 1)},
		"Backwards":       {Kind: Zero, Extents: x(8, 4)},
		"Overlap":         {Kind: Zero, Extents: x(0, 8, 4, 12)},
		"PastEnd":         {Kind: Zero, Extents: x(0, 1<<20+1)},
		"Negative":        {Kind: Zero, Extents: x(-1, 4)},
		"ZeroWithPayload": {Kind: Zero, Extents: x(0, 4), Payload: []byte{1}},
		"RawTooLong":      {Kind: Data, Codec: None, Raw: MaxRaw + 1, Extents: x(0, MaxRaw+1), Payload: []byte{1}},
		"RawNotExtents":   {Kind: Data, Codec: None, Raw: 5, Extents: x(0, 4), Payload: []byte{1}},
		"NoPayload":       {Kind: Data, Codec: None, Raw: 4, Extents: x(0, 4)},
		"RepeatOfTwo":     {Kind: Repeat, Raw: 8192, Extents: x(0, 4096, 8192, 12288), Origin: Origin{Hash: replication.Hash{1}}},
		"RepeatOffPages":  {Kind: Repeat, Raw: 4096, Extents: x(512, 4608), Origin: Origin{Hash: replication.Hash{1}}},
		"RepeatTooLong":   {Kind: Repeat, Raw: MaxRaw + 4096, Extents: x(0, MaxRaw+4096), Origin: Origin{Hash: replication.Hash{1}}},
		"RepeatNotRaw":    {Kind: Repeat, Raw: 4096, Extents: x(0, 8192), Origin: Origin{Hash: replication.Hash{1}}},
		"RepeatOfZeros":   {Kind: Repeat, Raw: 4096, Extents: x(0, 4096)},
		"RepeatFromNone":  {Kind: Repeat, Raw: 4096, Extents: x(0, 4096), Origin: Origin{Off: -4096, Hash: replication.Hash{1}}},
		"RepeatAndData":   {Kind: Repeat, Raw: 4096, Extents: x(0, 4096), Origin: Origin{Hash: replication.Hash{1}}, Payload: []byte{1}},
		"DataFromAfar":    {Kind: Data, Codec: None, Raw: 4, Extents: x(0, 4), Payload: []byte{1}, Origin: Origin{Off: 4096}},
		"UnknownCodec":    {Kind: Data, Codec: 9, Raw: 4, Extents: x(0, 4), Payload: []byte{1}},
	} {
		if err := b.Check(1 << 20); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v want ErrCorrupt", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for l := Raw; l <= LevelZstd2; l++ {
		b := encode(text(5000), l)
		f.Add(uint8(b.Codec), b.Raw, b.Payload)
	}
	f.Fuzz(func(t *testing.T, codec uint8, raw int, payload []byte) {
		b := Block{Kind: Data, Codec: Codec(codec), Raw: raw, Payload: payload, Extents: []replication.Extent{{Off: 0, End: int64(raw)}}}
		if b.Check(1<<40) != nil {
			return
		}
		if got, err := b.Decode(make([]byte, MaxRaw)); err == nil && (len(got) != raw || Checksum(got) != 0) {
			t.Fatal("accepted bytes that the checksum does not cover")
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	names := []string{"raw", "lz4", "s2", "zstd1", "zstd2"}
	for l := Raw; l <= LevelZstd2; l++ {
		raw := append(noise(MaxRaw/4), text(MaxRaw*3/4)...)
		b.Run(names[l], func(b *testing.B) {
			var e Encoder
			var dst []byte
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				dst, _ = e.Encode(dst[:0], raw, l)
			}
		})
	}
}
