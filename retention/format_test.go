package retention

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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
		for _, n := range st.files {
			_ = n.path()
		}
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

// FuzzRecords applies the payloads of all kinds of records to the state of a journal: one payload a line, its kind in its first byte. What applies must apply to a copy as well, and a checkpoint of it
// must come back as the same state.
func FuzzRecords(f *testing.F) {
	for _, dir := range []string{"format1", "format1-packed"} {
		b, err := os.ReadFile(filepath.Join("testdata", dir, "log"))
		if err != nil {
			f.Fatal(err)
		}
		var lines []byte
		for w := (logWalk{f: &simFile{v: newMachine(1).volume(), i: &inode{cur: b}}, size: int64(len(b))}); ; {
			x, ok, err := w.next()
			if err != nil || x.err != nil {
				f.Fatal(err, x.err)
			}
			if !ok {
				break
			}
			if x.kind != kindIdentity {
				lines = append(append(append(lines, byte(x.kind)), x.payload...), '\n')
			}
			f.Add(bytes.Clone(lines))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		st := &state{id: Identity{Group: "web", Disks: []replication.Disk{{Size: 8*4096 + 512}, {No: 1, Size: 4 * 4096}}, Targets: []string{"", ""}, UUID: "00112233445566778899aabbccddeeff"}}
		for seq, line := range bytes.Split(b, []byte{'\n'}) {
			if len(line) == 0 || seq > 64 {
				continue
			}
			r := record{kind: kind(line[0]), seq: uint64(seq) + 1, payload: line[1:]}
			r.chain[0] = byte(seq + 1)
			tried := st.clone()
			if err := tried.apply(r); err != nil {
				continue
			}
			before := st.clone()
			if err := st.apply(r); err != nil {
				t.Fatalf("record of kind %d applies to a copy only: %v", r.kind, err)
			}
			got, want := mustJSON(t, st.checkpoint(chain{})), mustJSON(t, tried.checkpoint(chain{}))
			if !bytes.Equal(got, want) {
				t.Fatalf("record of kind %d after %+v: got %s want %s", r.kind, before, got, want)
			}
			if st.move != nil && len(st.move.Done) != len(st.id.Disks) {
				t.Fatalf("a move of %d disks", len(st.move.Done))
			}
			for i, p := range st.points {
				if i > 0 && p.ID <= st.points[i-1].ID {
					t.Fatalf("points %d and %d", st.points[i-1].ID, p.ID)
				}
			}
			var back checkpointRecord
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatal(err)
			}
			again := &state{id: st.id}
			if err := again.restore(back); err != nil {
				t.Fatalf("checkpoint %s: %v", got, err)
			}
		}
	})
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzScan reads any bytes as the unsealed file of a lane: what comes out lies within the disks and the file, rises, and is decoded.
func FuzzScan(f *testing.F) {
	hdr := fileHeader{kind: segmentFile, journal: uuid{1}, point: 3, group: "web"}
	raw := bytes.Repeat([]byte{7}, 4096)
	e := block.Block{Kind: block.Data, Extents: []replication.Extent{{Off: 4096, End: 8192}}, Raw: 4096, CRC: block.Checksum(raw), Payload: raw}
	b := append(appendEntry(nil, &e, 3, where{fileHeaderSize, hdr.salt()}), raw...)
	f.Add(b, 0)
	f.Add(append(b, make([]byte, sector)...), 1)
	id := &Identity{Disks: []replication.Disk{{Size: 1 << 30}}}
	f.Fuzz(func(t *testing.T, b []byte, fix int) {
		b = append(hdr.put(), b...)
		for at := fileHeaderSize; fix > 0 && at+entryFixed <= len(b); fix-- { // with the checksums made right
			n, p, err := entrySize(b[at:])
			if err != nil || at+n+p > len(b) {
				break
			}
			le.PutUint32(b[at+52:], crc(b[at+n:at+n+p]))
			le.PutUint32(b[at+4:], crc(b[at+8:at+n]))
			at += n + p
		}
		last := int64(0)
		got, end, err := scan(&simFile{v: newMachine(1).volume(), i: &inode{cur: b}}, "x", id, func(b *block.Block, _ replication.PointID, at int64) error {
			if at < last {
				t.Fatalf("entry at %d after %d", at, last)
			}
			last = at + 1
			return b.Check(1 << 30)
		})
		if err != nil {
			t.Fatal(err)
		}
		if got != hdr || end > int64(len(b)) {
			t.Fatalf("got %+v, end %d of %d", got, end, len(b))
		}
	})
}

// goldenRecord reads a record back from a file that never changes, and makes sure that the same is written.
func goldenRecord(t *testing.T, name string, k kind, seq uint64, v any) record {
	t.Helper()
	payload, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := putRecord(k, seq, chain{1, 2, 3}, payload)
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
	r, err := parseRecord(want, chain{1, 2, 3}, seq)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
