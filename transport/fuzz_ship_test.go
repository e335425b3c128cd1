package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/mem"

	failbackpb "failback/proto"
	"failback/replication"
	"failback/replication/block"
	"failback/replication/link"
	"failback/replication/mastertarget"
)

// ordered is a process server that has its orders to ship taken out of its hands.
type ordered struct {
	link.Worker
	ships chan shipOrder
}

type shipOrder struct {
	link.Spec
	link.Shipment
}

const fuzzDisk = 1<<20 + 512

func (o ordered) Probe(_ context.Context, s link.Spec) (all link.Survey, err error) {
	for _, d := range s.Disks {
		all.Disks = append(all.Disks, link.Probed{Disk: d.Disk.No, Size: fuzzDisk, View: "reflink"})
	}
	return all, nil
}

func (o ordered) Cut(_ context.Context, s link.Spec, p replication.PointID, b link.Base) (link.Cut, error) {
	return link.Cut{Cut: replication.Cut{Time: time.Now(), Snapshot: fmt.Sprint(p), Stable: true, Tracked: b.Point != 0, Sizes: []int64{fuzzDisk, fuzzDisk}}}, nil
}

func (o ordered) Ship(ctx context.Context, s link.Spec, sh link.Shipment, _ func(replication.Progress)) error {
	select {
	case o.ships <- shipOrder{s, sh}:
	case <-ctx.Done():
	}
	<-ctx.Done()
	return ctx.Err()
}

// frames is a lane's stream on which frames come as they are on the wire.
type frames struct {
	failbackpb.Replication_ShipServer
	ctx context.Context
	all [][]byte
}

func (f *frames) Context() context.Context { return f.ctx }
func (f *frames) SendMsg(any) error        { return nil }
func (f *frames) RecvMsg(v any) error {
	if len(f.all) == 0 {
		return io.EOF
	}
	b := f.all[0]
	f.all = f.all[1:]
	return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v)
}

// FuzzShip sends frames to a real master target, over a lane of a first copy: whatever they say, the disks keep their sizes, and what becomes durable are pages of them.
func FuzzShip(f *testing.F) {
	dir := memory(f)
	for _, d := range []string{"ret", "ds"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			f.Fatal(err)
		}
	}
	e, err := mastertarget.Open(mastertarget.Config{State: dir + "/mt", Retention: dir + "/ret", AllowSharedVolume: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	w := ordered{ships: make(chan shipOrder)}
	bye, err := e.Connected(link.Peer{Name: "ps", Key: "unknown", Minor: link.ProtocolMinor}, w) // the key of who calls without TLS
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(bye)
	plan := "group: g\nos: linux\nprocess_server: ps\nmachines: [{name: m, disks: [{id: a, source: 'image:/s', target: %[1]s/ds/a.raw}, {id: b, source: 'image:/t', target: %[1]s/ds/b.raw}]}]\n"
	if _, _, err := e.Reprotect(context.Background(), fmt.Appendf(nil, plan, dir)); err != nil {
		f.Fatal(err)
	}
	s := <-w.ships
	fence := link.Fence{Session: s.Session, Point: s.Point}

	text := bytes.Repeat([]byte("what is on a disk. "), 4096)[:block.MaxRaw]
	wire := func(add func(*block.Frame)) []byte {
		fr := block.NewFrame()
		add(fr)
		b, err := newCodec().Marshal(&wireFrame{frame: fr})
		if err != nil {
			f.Fatal(err)
		}
		return b.Materialize()
	}
	at := func(off, n int64) block.Block {
		return block.Block{Extents: []replication.Extent{{Off: off, End: off + n}}}
	}
	var enc block.Encoder
	stream := block.NewStreamEncoder()
	streamed := func(raw []byte) []byte {
		return wire(func(fr *block.Frame) {
			fr.Add(nil, at(0, int64(len(raw))), raw, block.LevelStream, nil)
			fr.Stream(stream)
		})
	}
	first, second := streamed(text[:8192]), streamed(text[:4096])
	f.Add(first, second)
	f.Add(second, first)
	for l := block.Raw; l <= block.LevelZstd2; l++ {
		f.Add(wire(func(fr *block.Frame) { fr.Add(&enc, at(1<<16, block.MaxRaw), text, l, nil) }), wire(func(fr *block.Frame) { fr.Add(&enc, at(1<<20, 512), text[:512], l, nil) }))
	}
	f.Add(wire(func(fr *block.Frame) {
		fr.Blocks = append(fr.Blocks, block.Block{Kind: block.Zero, Extents: []replication.Extent{{Off: 0, End: 4096}, {Off: 8192, End: fuzzDisk}}}, block.Block{Disk: 1, Kind: block.Equal, Extents: []replication.Extent{{End: fuzzDisk}}})
	}), wire(func(fr *block.Frame) {
		fr.Blocks = append(fr.Blocks, block.Block{Kind: block.Repeat, Raw: 8192, Extents: []replication.Extent{{End: 8192}}, Origin: block.Origin{Disk: 1, Off: 4096, Hash: replication.Hash{1}}})
	}))
	attempt := uint64(0)
	server := &replicationServer{master: e}
	if err := server.Ship(&frames{ctx: f.Context(), all: [][]byte{framed(f, &failbackpb.Frame{Open: &failbackpb.LaneOpen{Fence: fenceToWire(fence)}}), first}}); err != nil {
		f.Fatalf("what is right is not taken: %v", err)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		attempt++
		opened := framed(t, &failbackpb.Frame{Open: &failbackpb.LaneOpen{Fence: fenceToWire(fence), Attempt: attempt}})
		_ = server.Ship(&frames{ctx: t.Context(), all: [][]byte{opened, a, b}})
		for _, name := range []string{"a.raw", "b.raw"} {
			if fi, err := os.Stat(filepath.Join(dir, "ds", name)); err != nil || fi.Size() != fuzzDisk {
				t.Fatalf("the disk %s: %v, %v", name, fi, err)
			}
		}
		err := e.Coverage(t.Context(), fence, func(d replication.DiskNo, x []replication.Extent) error {
			for _, c := range x {
				if d > 1 || c.Check(fuzzDisk) != nil || c.Outward(fuzzDisk) != c {
					return fmt.Errorf("%v of disk %d is durable", c, d)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
