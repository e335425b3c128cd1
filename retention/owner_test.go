package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/block"
)

// rivals are two master targets with one journal and its disks, where no lock keeps them apart.
type rivals struct {
	*world
	a, b *Journal
	lane *Arrival // of a, in the middle of point 4
	data block.Block
}

// newRivals stops where a has a cycle open and b has just taken the journal over.
func newRivals(t *testing.T) *rivals {
	t.Helper()
	w := &rivals{world: goldenWorld(t)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.j.Close())
	w.t.batch, w.t.batchTime = 1, 0 // looked at before each write
	var err error
	w.a, err = openAs(w.m.volume(), worldDir, "web", "a", w.t)
	must(err)
	g, err := w.a.TakeOver(Owner{ID: "a", Host: "old"}, 0)
	must(err)
	last, _ := w.a.Last()
	cut := replication.Cut{Time: time.Unix(1700003000, 0).UTC(), Snapshot: "of a", Stable: true, Tracked: true, Sizes: w.sizes}
	must(w.a.Begin(replication.Cycle{Point: 4, Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled, Cut: cut}))
	w.lane, err = w.a.Lane(replication.Lane{Session: replication.Session{Group: "web", Generation: g, ID: 1}, Point: 4})
	must(err)
	raw := bytes.Repeat([]byte{0xaa}, replication.Page)
	w.data = block.Block{Kind: block.Data, Extents: []replication.Extent{{End: replication.Page}}, Raw: len(raw), CRC: block.Checksum(raw)}
	w.data.Payload, w.data.Codec = (&block.Encoder{}).Encode(nil, raw, block.LevelLZ4)
	must(w.lane.Append(&w.data))
	must(w.lane.Sync())
	clear(w.m.locks)
	w.b, err = open(w.m.volume(), worldDir, "web", w.t)
	must(err)
	gb, err := w.b.TakeOver(Owner{ID: "b", Host: "new"}, 9)
	must(err)
	if gb <= g || gb <= 9 {
		t.Fatalf("generation %d after %d", gb, g)
	}
	return w
}

// snapshot copies all that is on the volume and the disks.
func (w *rivals) snapshot() map[string][]byte {
	s := map[string][]byte{}
	for n, b := range w.files() {
		s[n] = slices.Clone(b)
	}
	for d, i := range w.m.disks {
		s[fmt.Sprint("disk ", d)] = slices.Clone(i.cur)
	}
	return s
}

// try does one thing as the old master target, which does not know yet, and says what it changed.
func (w *rivals) try(do func(j *Journal) error) error {
	before := w.snapshot()
	err := do(w.a)
	if !maps.EqualFunc(before, w.snapshot(), bytes.Equal) {
		return errors.New("the old master target wrote")
	}
	var owned *Owned
	if !errors.As(err, &owned) || owned.Owner.ID != "b" {
		return fmt.Errorf("got %w, want that it is b's", err)
	}
	if w.a.Err() == nil || w.a.Pin(2, time.Time{}, "") == nil {
		return errors.New("the old master target goes on")
	}
	return nil
}

// olds are the things that a master target does with a journal and its disks.
func (w *rivals) olds() map[string]func(j *Journal) error {
	disks := w.m.targets()
	return map[string]func(j *Journal) error{
		"Adopt":  func(j *Journal) error { _, err := j.Adopt(0); return err },
		"Append": func(*Journal) error { return errors.Join(w.lane.Append(&w.data), w.lane.Sync()) },
		"Seal":   func(*Journal) error { return w.lane.Close() },
		"Lane": func(j *Journal) error {
			_, err := j.Lane(replication.Lane{Session: w.lane.lane.Session, Point: 4, Lane: 7})
			return err
		},
		"Drop":     func(j *Journal) error { return j.Drop("starts over") },
		"Move":     func(j *Journal) error { return j.Move(context.Background(), disks, 3, nil) },
		"TakeOver": func(j *Journal) error { _, err := j.TakeOver(Owner{ID: "x"}, 0); return err },
		"Points":   func(j *Journal) error { return j.DropPoints([]replication.PointID{1}, "policy") },
		"Settings": func(j *Journal) error { return j.RecordSettings(Settings{Targets: []string{"/x", "/y"}}) },
		"Through":  func(j *Journal) error { return j.MayWrite(1) },
		"Look":     func(j *Journal) error { return j.StillOurs() },
		"Retire":   func(j *Journal) error { return j.Retire() },
		"Rewrite": func(j *Journal) error {
			_, err := j.Rewrite(context.Background(), []string{j.now.Load().state.files[0].path()}, RewriteOptions{})
			return err
		},
		"Read": func(j *Journal) error {
			r, err := j.Reader(2, 0, disks[0])
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = r.ReadAt(make([]byte, w.sizes[0]), 0)
			return err
		},
	}
}

// TestOldMasterTargetStops: whatever it is about to do when another takes its group over, it does not, says who has the group, and does nothing any more. The other goes on.
func TestOldMasterTargetStops(t *testing.T) {
	for name := range newRivals(t).olds() {
		t.Run(name, func(t *testing.T) {
			w := newRivals(t)
			if err := w.try(w.olds()[name]); err != nil {
				t.Fatal(err)
			}
			w.a.Close()
			w.j = w.b
			w.maybe, w.gone, w.cycle = 0, nil, nil
			if err := w.b.Move(context.Background(), w.m.targets(), 3, nil); err != nil {
				t.Fatal(err)
			}
			if err := w.check("after another stopped"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOldMasterTargetStopsWithinAMove: the journal is taken over after k operations of a move; nothing of it is written from then on, and the other finishes it.
func TestOldMasterTargetStopsWithinAMove(t *testing.T) {
	within := 0
	for k := 0; ; k++ {
		w := newRivals(t)
		w.b.Close()
		if _, err := w.a.Adopt(0); !errors.Is(err, ErrOwned) {
			t.Fatalf("got %v, want that the journal is another's", err)
		}
		w.a.Close()
		clear(w.m.locks)
		a, err := openAs(w.m.volume(), worldDir, "web", "b", w.t)
		if err != nil {
			t.Fatal(err)
		}
		ops, done := 0, false
		var before map[string][]byte
		w.m.onOp = func() {
			if ops++; ops <= k || done {
				return
			}
			done = true
			clear(w.m.locks)
			c, err := open(w.m.volume(), worldDir, "web", w.t)
			if err == nil {
				_, err = c.TakeOver(Owner{ID: "c"}, 0)
			}
			if err != nil {
				t.Error(err)
				return
			}
			within++
			w.b, before = c, w.snapshot()
		}
		err = a.Move(context.Background(), w.m.targets(), 3, nil)
		w.m.onOp = nil
		if !done {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		// What was under way when it was taken over, one operation, may have happened.
		changed := 0
		for n, b := range w.snapshot() {
			if !bytes.Equal(before[n], b) {
				changed++
			}
		}
		if err != nil && !errors.Is(err, ErrOwned) || changed > 1 {
			t.Fatalf("operation %d: got %v, and %d files or disks changed", k, err, changed)
		}
		if owned := a.StillOurs(); !errors.Is(owned, ErrOwned) {
			t.Fatalf("operation %d: got %v, want that the journal is another's", k, owned)
		}
		a.Close()
	}
	if within < 10 {
		t.Errorf("taken over within %d operations of the move", within)
	}
}

// refused has the old master target open the journal.
func (w *rivals) refused() error {
	_, err := openAs(w.m.volume(), worldDir, "web", "a", w.t)
	var owned *Owned
	if !errors.As(err, &owned) || owned.Owner.Host != "new" || owned.Generation != w.b.Generation() {
		return fmt.Errorf("got %w, want whose it is", err)
	}
	return nil
}

// TestJournalOfAnotherIsRefused: a master target does not open what was taken from it, and writes nothing to it; what was given up, anyone opens.
func TestJournalOfAnotherIsRefused(t *testing.T) {
	w := newRivals(t)
	w.a.Close()
	clear(w.m.locks)
	before := w.snapshot()
	if err := w.refused(); err != nil {
		t.Error(err)
	}
	if !maps.EqualFunc(before, w.snapshot(), bytes.Equal) {
		t.Error("to look whose it is wrote")
	}
	if err := w.b.RecordSettings(Settings{Plan: "group: web\n", Targets: []string{"/a", "/b"}, Held: true}); err != nil {
		t.Fatal(err)
	}
	w.b.t.logBytes = 1
	if err := w.b.Shorten(); err != nil {
		t.Fatal(err)
	}
	if err := w.b.GiveUp(); err != nil {
		t.Fatal(err)
	}
	w.b.Close()
	j, err := openAs(w.m.volume(), worldDir, "web", "a", w.t)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	s, ok := j.Settings()
	if _, known, released := j.Owner(); known || !released || !ok || s.Plan != "group: web\n" || !s.Held || s.Targets[1] != "/b" {
		t.Errorf("known %v, released %v, settings %+v", known, released, s)
	}
}

// TestFilesOfTheThoughtDeadCountNot: what the old master target appends to a cycle that the new one began under the same number is none of it.
func TestFilesOfTheThoughtDeadCountNot(t *testing.T) {
	if err := newRivals(t).wakesUp(); err != nil {
		t.Error(err)
	}
}

// wakesUp has the new master target begin the open cycle anew, and a process of the old one, that was stopped before a write, go on.
func (w *rivals) wakesUp() error {
	last, _ := w.b.Last()
	c := replication.Cycle{Point: w.b.NextPoint(), Base: last.ID, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled,
		Cut: replication.Cut{Time: time.Unix(1700004000, 0).UTC(), Snapshot: "of b", Stable: true, Tracked: true, Sizes: w.sizes}}
	if err := w.b.Begin(c); err != nil {
		return err
	}
	hdr := fileHeader{kind: segmentFile, journal: w.a.journal, point: 4, generation: w.a.Generation(), session: 1, lane: 9, group: "web"}
	late, err := createWriter(w.m.volume(), fmt.Sprintf("%s/seg/4-%d-1-9-0.seg", worldDir, hdr.generation), hdr, &w.t)
	if err != nil {
		return err
	}
	if err := errors.Join(late.append(&w.data, 4), late.sync(), w.b.Close()); err != nil {
		return err
	}
	j, err := openAs(w.m.volume(), worldDir, "web", "b", w.t)
	if err != nil {
		return err
	}
	defer j.Close()
	if n := j.Durable(0); n != 0 {
		return fmt.Errorf("%d bytes of another count for the open cycle", n)
	}
	return nil
}

// TestGoldenOwnerRecords writes the bytes that the first release with owners wrote, and reads them back: the generation with an owner, the settings, and the checkpoint by which a journal changes hands.
func TestGoldenOwnerRecords(t *testing.T) {
	since := time.Unix(1700010000, 0).UTC()
	owner := Owner{ID: "0123456789abcdef0123456789abcdef", Host: "mt1", Machine: "fedcba9876543210fedcba9876543210", Since: since}
	settings := Settings{Plan: "group: web\n", Targets: []string{"/vmfs/0.vmdk", "/vmfs/1.vmdk"}, Held: true}
	was := &state{id: Identity{Disks: make([]replication.Disk, 2)}, generation: 8, begun: 7, owner: &owner, settings: &settings, saved: 3, packed: 4}
	for name, x := range map[string]struct {
		kind kind
		seq  uint64
		v    any
	}{
		"record2-owner":  {kindGeneration, 40, generationRecord{Generation: 7, Owner: &owner}},
		"record2-given":  {kindGeneration, 40, generationRecord{Generation: 7, Released: true}},
		"record30":       {kindSettings, 40, settings},
		"record19-owner": {kindCheckpoint, 1, was.checkpoint(chain{9})},
	} {
		r := goldenRecord(t, name, x.kind, x.seq, x.v)
		st := &state{id: was.id}
		if err := st.apply(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if o, known, released := st.ownedBy(); name == "record2-given" != released || (x.kind != kindSettings && !released) != known || known && o != owner {
			t.Errorf("%s: owner %+v, known %v, released %v", name, o, known, released)
		}
		if x.kind != kindGeneration && (st.settings == nil || !sameJSON(*st.settings, settings)) {
			t.Errorf("%s: settings %+v", name, st.settings)
		}
	}
}
