package retention

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"failback/replication"
	"failback/replication/block"
)

// TestOverlayGivesTheHighest lays random indexes of several versions each over each other, and compares every byte with what stands highest there.
func TestOverlayGivesTheHighest(t *testing.T) {
	if err := overlays(fewer(20000)); err != nil {
		t.Fatal(err)
	}
}

func overlays(rounds int) error {
	const size = 60
	r := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		var files []*sealed
		var feeds []feed
		var at int64 = fileHeaderSize
		top := map[int64]span{}
		own := r.IntN(4) == 0 // a writer's: entries of one version, the later above
		damaged := r.IntN(2) == 0
		for k := range 1 + r.IntN(5) {
			s := &sealed{rank: uint64(k + 1), hdr: fileHeader{kind: []fileKind{segmentFile, saveFile, packFile}[r.IntN(3)], point: replication.PointID(1 + r.IntN(6))}}
			if s.hdr.kind != segmentFile { // what tells of a segment's version is named later than the segment
				s.rank += 10
			}
			if own {
				s = nil
			}
			var es []entry
			for off := r.Int64N(9); off < size; off += r.Int64N(9) {
				e := entry{kind: block.Zero, ext: replication.Extent{Off: off, End: off + 1 + r.Int64N(9)}, version: replication.PointID(1 + r.IntN(6)), at: fileHeaderSize + r.Int64N(1e9)}
				if s == nil {
					e.version = 3
				} else if s.hdr.kind == segmentFile {
					e.version = s.hdr.point
				} else if s.hdr.kind == packFile && r.IntN(3) == 0 {
					e.kind = gone
				}
				if s != nil && damaged && r.IntN(3) == 0 { // quarantined, or carried on as such
					e.kind, s.parts = lost, []stretch{{e.at, e.at + 1}}
				}
				es = append(es, e)
				off, at = e.ext.End, at+1
			}
			files = append(files, s)
			feeds = append(feeds, &tellFeed{es: es, in: s})
			for _, e := range es {
				for x := e.ext.Off; x < e.ext.End; x++ {
					if old, ok := top[x]; !ok || (&span{e, s}).above(&old) {
						top[x] = span{e, s}
					}
				}
			}
		}
		o, err := newOverlay(feeds)
		if err != nil {
			return err
		}
		from := r.Int64N(size / 2)
		if err := o.seek(0, from); err != nil {
			return err
		}
		x := from
		for {
			sp, ok, err := o.next(noLimit)
			if err != nil {
				return err
			}
			end := int64(2 * size)
			if ok {
				end = sp.ext.Off
			}
			for ; x < end; x++ {
				if want, is := top[x]; is {
					return fmt.Errorf("byte %d: got none want %+v of %v", x, want, files)
				}
			}
			if !ok {
				break
			}
			for ; x < sp.ext.End; x++ {
				if want, is := top[x]; !is || want.in != sp.in || want.at != sp.at {
					return fmt.Errorf("byte %d: got version %d at %d want version %d at %d", x, sp.version, sp.at, want.version, want.at)
				}
			}
		}
	}
	return nil
}

// tellFeed gives entries with the file they are of.
type tellFeed struct {
	es []entry
	in *sealed
}

func (s *tellFeed) next(off int64) (span, bool, error) {
	for len(s.es) > 0 && s.es[0].ext.End <= off {
		s.es = s.es[1:]
	}
	if len(s.es) == 0 {
		return span{}, false, nil
	}
	e := s.es[0]
	s.es = s.es[1:]
	return span{e, s.in}, true, nil
}

// TestIndexOfWhatWasAppendedTwice appends extents again and again, with spills in between: the later counts, byte by byte.
func TestIndexOfWhatWasAppendedTwice(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for seed := range uint64(fewer(400)) {
		m := newMachine(seed, 1)
		vol, tune := m.volume(), testTuning
		tune.spillEntries = 2 + r.IntN(20)
		w, err := createWriter(vol, "/f", fileHeader{kind: segmentFile, point: 3, group: "web"}, &tune)
		if err != nil {
			t.Fatal(err)
		}
		id := Identity{Group: "web", Disks: []replication.Disk{{Size: 64 * replication.Page}}}
		want := map[int64]int64{} // page: offset of the entry
		for range 1 + r.IntN(40) {
			off := r.Int64N(60)
			e := replication.Extent{Off: off * replication.Page, End: min(64, off+1+r.Int64N(9)) * replication.Page}
			for p := e.Off; p < e.End; p += replication.Page {
				want[p] = w.end
			}
			if err := w.append(&block.Block{Kind: block.Zero, Extents: []replication.Extent{e}}, 3); err != nil {
				t.Fatal(err)
			}
		}
		foot, _, err := w.seal()
		if err != nil {
			t.Fatal(err)
		}
		s := w.sealed("/f", newHandles(vol, 2), foot)
		for c := (&cursor{src: s, in: s, whole: true}); ; {
			sp, ok, err := c.next(0)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			for p := sp.ext.Off; p < sp.ext.End; p += replication.Page {
				if want[p] != sp.at {
					t.Fatalf("seed %d, page %d: got the entry at %d want %d", seed, p/replication.Page, sp.at, want[p])
				}
				delete(want, p)
			}
		}
		if len(want) > 0 {
			t.Fatalf("seed %d: not in the index: %v", seed, want)
		}
		if err := s.verifyIndex(&id); err != nil {
			t.Fatal(err)
		}
	}
}
