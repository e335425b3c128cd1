package retention

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"failback/replication"
)

// committedWorld is goldenWorld whose disks, at point 2, were given to their machine.
func committedWorld(t *testing.T) *world {
	t.Helper()
	w := goldenWorld(t)
	since := time.Unix(1700012345, 0).UTC()
	for _, err := range []error{
		w.j.RecordCutover(&Cutover{Step: CutoverFinal, Since: since, From: 2, Held: true, Stop: "stop it", After: "start it", Verify: true}),
		w.j.RecordCutover(&Cutover{Step: CutoverClosing, Since: since, Point: 2, From: 2, Held: true, After: "start it"}),
		w.j.RecordFingerprints([]string{"one", ""}),
		w.j.RecordCutover(&Cutover{Step: CutoverCommitted, Since: since, Point: 2, From: 2, Held: true, After: "start it"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// committedDisks has a machine write to committed disks, and asks for points: what comes must not be what it wrote.
func committedDisks(t *testing.T) error {
	w := committedWorld(t)
	for _, d := range w.m.disks {
		for i := range d.cur {
			d.cur[i], d.dur[i] = 0xee, 0xee
		}
	}
	for _, p := range w.j.Points() {
		for d, disk := range w.m.targets() {
			r, err := w.j.Reader(p.ID, replication.DiskNo(d), disk)
			if errors.Is(err, ErrCommitted) {
				continue
			}
			if err != nil {
				return err
			}
			b := make([]byte, w.sizes[d])
			if _, err := r.ReadAt(b, 0); err != nil {
				return err
			}
			if bytes.IndexByte(b, 0xee) >= 0 {
				return fmt.Errorf("point %d has what the machine wrote to disk %d since", p.ID, d)
			}
		}
	}
	if err := w.moveTo(3); err == nil {
		return errors.New("disks were moved that a machine may run on")
	}
	return nil
}

// TestCommitted: what would read disks that were given away, or write to them, is refused, also by who had begun before, and after the journal was opened anew; and is done again once they were taken back.
func TestCommitted(t *testing.T) {
	if err := committedDisks(t); err != nil {
		t.Fatal(err)
	}
	w := goldenWorld(t)
	early, err := w.j.Reader(1, 0, w.m.targets()[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := w.j.RecordCutover(&Cutover{Step: CutoverCommitted, Point: 2}); err == nil {
		t.Error("committed without the session's end")
	}
	if err := w.j.RecordFingerprints([]string{"one", "two"}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []Cutover{{Step: CutoverCommitted, Point: 3}, {Step: CutoverClosing, Point: 9}, {Step: "else"}, {Step: CutoverClosing}} {
		if err := w.j.RecordCutover(&x); err == nil {
			t.Errorf("%+v was noted with the head at 2", x)
		}
	}
	want := Cutover{Step: CutoverCommitted, Point: 2, From: 2}
	if err := w.j.RecordCutover(&want); err != nil {
		t.Fatal(err)
	}
	if _, err := early.ReadAt(make([]byte, 9), 0); !errors.Is(err, ErrCommitted) {
		t.Errorf("a reader from before: %v", err)
	}
	refuses := func(when string) {
		t.Helper()
		last, _ := w.j.Last()
		_, rerr := w.j.Reader(2, 0, w.m.targets()[0])
		for what, err := range map[string]error{
			"reader": rerr, "move": w.moveTo(1), "drop": w.j.DropPoints([]replication.PointID{1}, "for no reason"), "content ids": w.j.RecordContentIDs([]uint32{1, 2}), "fingerprints": w.j.RecordFingerprints(nil),
			"cycle": w.j.Begin(replication.Cycle{Point: 4, Base: 3, BaseChain: last.Chain, Mode: replication.Changes, Route: replication.Journaled, Cut: replication.Cut{Snapshot: "x", Sizes: w.sizes}}),
		} {
			if !errors.Is(err, ErrCommitted) {
				t.Errorf("%s, %s: %v", when, what, err)
			}
		}
		if got := w.j.Cutover(); got == nil || *got != want {
			t.Errorf("%s: cutover %+v", when, got)
		}
	}
	refuses("committed")
	if err := w.again(); err != nil {
		t.Fatal(err)
	}
	refuses("opened anew")
	w.j.t.logBytes = 1
	if err := errors.Join(w.j.Pin(2, time.Time{}, "kept"), w.j.Shorten(), w.again()); err != nil {
		t.Fatal(err)
	}
	refuses("from a log of two records")
	if v := le.Uint32(w.files()["log"][8:]); v != logCutover {
		t.Errorf("the log has version %d: a release that knows nothing of cutovers opens it", v)
	}
	i, err := inspect(w.m.volume(), worldDir, w.t, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := i.Cutover(); got == nil || *got != want {
		t.Errorf("an inspection says %+v", got)
	}
	if _, err := i.Reader(2, 0, w.m.targets()[0]); !errors.Is(err, ErrCommitted) {
		t.Errorf("an inspection's reader: %v", err)
	}
	i.Close()
	if err := errors.Join(w.j.RecordCutover(&Cutover{Step: CutoverUndoing, From: 2, Back: 3}), w.j.RecordFingerprints(nil), w.j.RecordContentIDs([]uint32{1, 2}), w.moveTo(3), w.j.RecordCutover(nil)); err != nil {
		t.Fatal(err)
	}
	if err := w.check("taken back"); err != nil {
		t.Fatal(err)
	}
	if w.j.Cutover() != nil {
		t.Error("there is a cutover still")
	}
}

// TestGoldenCutover reads the records of a cutover from files that never change, and writes the same.
func TestGoldenCutover(t *testing.T) {
	w := committedWorld(t)
	st := w.j.now.Load().state
	for name, x := range map[string]struct {
		kind kind
		seq  uint64
		v    any
	}{
		"record34":         {kindCutover, 40, cutoverRecord{st.cutover}},
		"record34-none":    {kindCutover, 40, cutoverRecord{}},
		"record19-cutover": {kindCheckpoint, 1, st.checkpoint(chain{9})},
	} {
		r := goldenRecord(t, name, x.kind, x.seq, x.v)
		now := st.clone()
		now.cutover = nil
		if err := now.apply(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if none := name == "record34-none"; none != (now.cutover == nil) || !none && (*now.cutover != *st.cutover || now.logVersion() != logCutover) {
			t.Errorf("%s: %+v", name, now.cutover)
		}
		if !slices.Equal(now.fingerprints, st.fingerprints) {
			t.Errorf("%s: fingerprints %q", name, now.fingerprints)
		}
	}
}
