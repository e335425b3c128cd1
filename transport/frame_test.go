package transport

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
)

func sample() *block.Frame {
	f := block.NewFrame()
	var e block.Encoder
	raw := bytes.Repeat([]byte("one group, one point. "), 3000)[:block.MaxRaw]
	f.Add(&e, block.Block{Disk: 3, Extents: []replication.Extent{{Off: 1 << 40, End: 1<<40 + block.MaxRaw}}}, raw, block.LevelS2, nil)
	f.Blocks = append(f.Blocks, block.Block{Disk: 3, Kind: block.Zero, Extents: []replication.Extent{{Off: 1 << 41, End: 1<<41 + 5<<30}}})
	f.Add(&e, block.Block{Extents: []replication.Extent{{Off: 0, End: 4096}, {Off: 8192, End: 12288}}}, raw[:8192], block.Raw, nil)
	f.Blocks = append(f.Blocks, block.Block{Disk: 2, Kind: block.Repeat, Raw: 8192, Extents: []replication.Extent{{Off: 1 << 30, End: 1<<30 + 8192}},
		Origin: block.Origin{Disk: 5, Off: 1 << 33, Hash: replication.Hash{1, 15: 2}}})
	return f
}

// split cuts b into buffers as a connection might.
func split(b []byte, r *rand.Rand) (s mem.BufferSlice) {
	for len(b) > 0 {
		n := min(len(b), 1+r.IntN(16<<10))
		s = append(s, mem.SliceBuffer(b[:n]))
		b = b[n:]
	}
	return s
}

func TestFrameIsPlainProtobuf(t *testing.T) {
	f := sample()
	if got := len(f.Parts()); got != 1 {
		t.Errorf("payloads encoded one after another lie in %d parts", got)
	}
	owner := block.NewBuffer()
	defer owner.Release()
	copy(owner.Bytes, bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, 1000))
	f.Add(&block.Encoder{}, block.Block{Disk: 1, Extents: []replication.Extent{{Off: 0, End: 4096}}}, owner.Bytes[:4096], block.Raw, owner)
	f.Add(&block.Encoder{}, block.Block{Disk: 2, Extents: []replication.Extent{{Off: 0, End: 4096}}}, owner.Bytes[:4096], block.LevelS2, owner)
	if !owner.Shared() || len(f.Parts()) != 3 {
		t.Errorf("content that is not compressed was copied: %d parts", len(f.Parts()))
	}
	f.Add(nil, block.Block{Disk: 3, Extents: []replication.Extent{{Off: 0, End: 7000}}}, owner.Bytes[:7000], block.LevelStream, owner)
	f.Stream(block.NewStreamEncoder())
	blocks := f.Blocks
	s, err := newCodec().Marshal(&wireFrame{frame: f})
	if err != nil {
		t.Fatal(err)
	}
	wire := s.Materialize()
	var m failbackpb.Frame
	if err := proto.Unmarshal(wire, &m); err != nil {
		t.Fatalf("generated code can't read it: %v", err)
	}
	if got, want := len(m.Blocks), len(blocks); got != want || m.Blocks[1].Kind != uint32(block.Zero) || int(m.Blocks[2].Raw) != 8192 {
		t.Fatalf("generated code reads %v", m.Blocks)
	}
	again, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range [][]byte{wire, again} {
		var got wireFrame
		if err := newCodec().Unmarshal(split(w, rand.New(rand.NewPCG(1, 1))), &got); err != nil {
			t.Fatal(err)
		}
		for i := range blocks {
			if len(got.frame.Blocks[i].Payload) == 0 {
				got.frame.Blocks[i].Payload = nil
			}
		}
		if !reflect.DeepEqual(got.frame.Blocks, blocks) {
			t.Fatal("blocks changed on the wire")
		}
	}
}

func FuzzFrame(f *testing.F) {
	s, _ := newCodec().Marshal(&wireFrame{frame: sample(), open: &failbackpb.LaneOpen{Lane: 1}})
	f.Add(s.Materialize())
	f.Fuzz(func(t *testing.T, b []byte) {
		var got wireFrame
		if newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &got) != nil {
			return
		}
		for i := range got.frame.Blocks {
			_ = got.frame.Blocks[i].Check(replication.MaxDiskSize)
		}
		got.frame.Free()
	})
}
