package mastertarget

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
)

// streamed is a frame whose one block is the next part of a stream.
func streamed(s *block.StreamEncoder, off int64, b []byte) *block.Frame {
	f := block.NewFrame()
	f.Add(nil, block.Block{Extents: []replication.Extent{{Off: off, End: off + int64(len(b))}}}, b, block.LevelStream, nil)
	f.Stream(s)
	return f
}

// TestStreamsAreForWhatIsWrittenThrough sends a first copy in streams, a lane's attempt broken off in the middle; parts that stand on others come to nothing without these; and a cycle whose blocks are kept takes none.
func TestStreamsAreForWhatIsWrittenThrough(t *testing.T) {
	e, p := stage(t)
	s := <-p.ships
	if !slices.Equal(s.Streams, []replication.DiskNo{0}) {
		t.Fatalf("a first copy: the order says that disks %v may come in streams", s.Streams)
	}
	open := func(attempt uint64) link.Lane {
		l, err := e.Lane(context.Background(), laneOf(s, attempt))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	content := make([]byte, puppetSize)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(content[:block.MaxRaw])
	for off := block.MaxRaw; off < len(content); off += block.MaxRaw { // all the same, so that all stands on the first
		copy(content[off:], content[:block.MaxRaw])
	}
	part := func(enc *block.StreamEncoder, off int64) *block.Frame {
		return streamed(enc, off, content[off:min(off+block.MaxRaw, puppetSize)])
	}

	enc, lane := block.NewStreamEncoder(), open(1)
	if err := lane.Send(part(enc, 0)); err != nil {
		t.Fatal(err)
	}
	if err := lane.Send(part(enc, block.MaxRaw)); err != nil {
		t.Fatal(err)
	}
	lane = open(2) // the next attempt begins anew: what stands on the first one's is of no use
	if err := lane.Send(part(enc, 2*block.MaxRaw)); !errors.Is(err, block.ErrCorrupt) {
		t.Fatalf("a part without those before it: got %v want ErrCorrupt", err)
	}
	lane.Close()
	liar := open(3)
	f := part(block.NewStreamEncoder(), 0)
	f.Blocks[0].CRC++
	if err := liar.Send(f); !errors.Is(err, block.ErrCorrupt) {
		t.Fatalf("a part with another checksum: got %v want ErrCorrupt", err)
	}
	liar.Close()

	lane = open(4)
	enc = block.NewStreamEncoder()
	for off := int64(0); off < puppetSize; off += block.MaxRaw {
		f := part(enc, off)
		if off > 0 && len(f.Blocks[0].Payload) > block.MaxRaw/8 {
			t.Fatalf("the part at %d has %d bytes: it does not stand on those before it", off, len(f.Blocks[0].Payload))
		}
		if err := lane.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lane.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Finish(context.Background(), link.Fence{Session: s.Session, Point: s.Point}, totalOf(replication.Extent{End: puppetSize})); err != nil {
		t.Fatal(err)
	}
	s.done <- nil

	s = cut(t, e, p)
	if len(s.Streams) > 0 {
		t.Errorf("a cycle that is kept: the order says that disks %v may come in streams", s.Streams)
	}
	g, _ := e.group("g")
	got := make([]byte, puppetSize)
	if _, err := g.targets[0].ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the disk has other content, %v", err)
	}
	lane = open(1)
	if err := lane.Send(part(block.NewStreamEncoder(), 0)); err == nil {
		t.Error("a cycle that is kept took part of a stream")
	}
	lane.Close()
	s.done <- errCut
}
