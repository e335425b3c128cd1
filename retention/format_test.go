package retention

import (
	"bytes"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// Each decoder meets any bytes, with the checksum made right so that it gets past it: it must not panic, and what it takes must code to the same bytes again.

func fixed(b []byte, at, from, to int) []byte {
	b = bytes.Clone(b)
	if len(b) >= max(at+4, to) && from <= to {
		le.PutUint32(b[at:], crc(b[from:to]))
	}
	return b
}

func FuzzRecord(f *testing.F) {
	b, _ := putRecord(kindGeneration, 3, chain{1}, []byte(`{"generation":4}`))
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= recordSize {
			c := link(chain{1}, b)
			b = bytes.Clone(b)
			copy(b[24:], c[:])
		}
		b = fixed(b, 4, 8, len(b))
		r, err := parseRecord(b, chain{1}, 3)
		if err != nil {
			return
		}
		if again, c := putRecord(r.kind, 3, chain{1}, r.payload); c != r.chain || len(again) != len(b) {
			t.Fatal("another record comes back")
		}
		st := &state{id: Identity{Disks: []replication.Disk{{Size: 4096}}}}
		_ = st.apply(r)
	})
}

func FuzzEntry(f *testing.F) {
	b := block.Block{Kind: block.Zero, Extents: []replication.Extent{{Off: 0, End: 4096}, {Off: 8192, End: 12288}}}
	f.Add(appendEntry(nil, &b, 7, where{256, 9}))
	f.Add([]byte{})
	size := func(d replication.DiskNo) int64 {
		if d > 2 {
			return -1
		}
		return 1 << 30
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = fixed(b, 4, 8, len(b))
		x, v, err := parseEntry(b, where{256, 9}, size)
		if err != nil {
			return
		}
		if err := x.Check(size(x.Disk)); err != nil && x.Kind != block.Data {
			t.Fatal(err)
		}
		if v != replication.PointID(le.Uint64(b[16:])) || x.Bytes() <= 0 {
			t.Fatalf("got version %d, %d bytes", v, x.Bytes())
		}
	})
}

func FuzzChunk(f *testing.F) {
	b := make([]byte, chunkSize)
	putChunk(b, []entry{{1, block.Data, replication.Extent{Off: 0, End: 4096}, 3, 256, 0}, {1, block.Zero, replication.Extent{Off: 8192, End: 1 << 40}, 3, 999, 0}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = fixed(b, 0, 4, len(b))
		es, err := parseChunk(nil, b)
		if err != nil {
			return
		}
		again := make([]byte, chunkSize)
		putChunk(again, es)
		back, err := parseChunk(nil, again)
		if err != nil || len(back) != len(es) {
			t.Fatalf("%d entries came back as %d, %v", len(es), len(back), err)
		}
		for i := range es {
			if es[i] != back[i] {
				t.Fatalf("entry %d: got %+v want %+v", i, back[i], es[i])
			}
		}
	})
}

func FuzzFooter(f *testing.F) {
	f.Add(footer{dataEnd: 4096, index: 4096, count: 5, chunks: 1, point: 3}.put())
	f.Fuzz(func(t *testing.T, b []byte) {
		b = fixed(b, 12, 16, len(b))
		x, err := parseFooter(b)
		if err != nil {
			return
		}
		if y, err := parseFooter(x.put()); err != nil || x != y {
			t.Fatalf("got %+v, %v want %+v", y, err, x)
		}
		if x.size() <= 0 {
			t.Fatalf("size %d", x.size())
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add(fileHeader{kind: saveFile, point: 3, group: "web"}.put())
	f.Add(putCoverageHeader(uuid{1}, 3))
	f.Add(putLogHeader(1))
	f.Add(mark{end: logStart, seq: 3}.put())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseFileHeader(fixed(b, fileHeaderSize-4, 0, fileHeaderSize-4)); err == nil {
			if back, err := parseFileHeader(h.put()); err != nil || back != h {
				t.Fatalf("got %+v, %v want %+v", back, err, h)
			}
		}
		if m, err := parseMark(fixed(b, 0, 4, logSlotSize)); err == nil {
			if back, err := parseMark(m.put()); err != nil || back != m {
				t.Fatalf("got %+v, %v want %+v", back, err, m)
			}
		}
		_, _, _ = parseCoverageHeader(fixed(b, 12, 16, coverageHeader))
		_ = parseLogHeader(fixed(b, 12, 0, 12))
	})
}

func FuzzCoverage(f *testing.F) {
	f.Add(appendBatch(nil, 4096, []covered{{1, replication.Extent{Off: 0, End: 4096}}}))
	size := func(d replication.DiskNo) int64 { return 1 << 30 }
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, err := parseBatch(fixed(b, 0, 4, len(b)), 4096, size)
		if err != nil {
			return
		}
		if again := appendBatch(nil, 4096, cs); !bytes.Equal(again[4:], b[4:]) {
			t.Fatal("another batch comes back")
		}
	})
}
