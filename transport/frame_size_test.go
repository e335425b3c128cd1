package transport

import (
	"math/rand/v2"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// TestFrameWithMostExtentsIsAMessage: a frame at all its bounds, with extents as far apart as a disk allows.
func TestFrameWithMostExtentsIsAMessage(t *testing.T) {
	f := block.NewFrame()
	var e block.Encoder
	raw := make([]byte, block.MaxRaw)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	for f.Raw() < block.MaxFrameRaw {
		f.Add(&e, block.Block{Extents: []replication.Extent{{Off: 1 << 45, End: 1<<45 + block.MaxRaw}}}, raw, block.LevelS2, nil)
	}
	const notes = 128
	for range notes {
		b := block.Block{Kind: block.Equal}
		for i := range int64(block.MaxFrameExtents / notes) {
			off := i * (replication.MaxDiskSize / (block.MaxFrameExtents / notes))
			b.Extents = append(b.Extents, replication.Extent{Off: off, End: off + 1<<35})
		}
		f.Blocks = append(f.Blocks, b)
	}
	s, err := newCodec().Marshal(&wireFrame{frame: f})
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() > maxMessage {
		t.Errorf("%d bytes, a message has %d at most", s.Len(), maxMessage)
	}
}
