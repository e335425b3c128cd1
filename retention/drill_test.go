package retention

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/replication"
)

// TestDrillOutcomeStaysOnThePoint notes outcomes, and reads them back from the log.
func TestDrillOutcomeStaysOnThePoint(t *testing.T) {
	w := goldenWorld(t)
	failed := replication.Drilled{Outcome: replication.DrillFailed, Time: time.Unix(1700010000, 0).UTC(), Note: "does not boot"}
	passed := replication.Drilled{Outcome: replication.DrillPassed, Time: time.Unix(1700020000, 0).UTC()}
	for _, d := range []replication.Drilled{failed, passed, failed} {
		if err := w.j.MarkDrilled(2, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.j.MarkDrilled(1, passed); err != nil {
		t.Fatal(err)
	}
	w.j.Close()
	j, err := open(w.m.volume(), worldDir, "web", w.t)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for id, want := range map[replication.PointID]*replication.Drilled{1: &passed, 2: &failed, j.Points()[2].ID: nil} {
		p, err := j.Point(id)
		if err != nil || (p.Drill == nil) != (want == nil) || want != nil && *p.Drill != *want {
			t.Errorf("point %d: got %+v, %v want %+v", id, p.Drill, err, want)
		}
	}
}

func TestDrillOutcomeRefused(t *testing.T) {
	w := goldenWorld(t)
	defer w.j.Close()
	size := w.j.log.mark
	if err := w.j.MarkDrilled(99, replication.Drilled{Outcome: replication.DrillPassed}); !errors.Is(err, ErrNoPoint) {
		t.Errorf("of a point that is not there: got %v, want %v", err, ErrNoPoint)
	}
	for _, d := range []replication.Drilled{{}, {Outcome: "well"}, {Outcome: replication.DrillPassed, Note: strings.Repeat("x", replication.MaxNote+1)},
		{Outcome: replication.DrillPassed, Note: "two\nlines"}, {Outcome: replication.DrillPassed, Note: "\xff"}} {
		if err := w.j.MarkDrilled(2, d); err == nil {
			t.Errorf("%.40q was taken", d)
		}
	}
	if w.j.log.mark != size {
		t.Error("what was refused is in the log")
	}
}

// TestGoldenDrillRecord writes the bytes that the first release with drills wrote, and reads them back.
func TestGoldenDrillRecord(t *testing.T) {
	x := drillRecord{7, replication.Drilled{Outcome: replication.DrillPassed, Time: time.Unix(1700010000, 0).UTC(), Note: "boots; e2fsck clean"}}
	payload, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := putRecord(kindPointDrilled, 40, chain{1, 2, 3}, payload)
	name := filepath.Join("testdata", "record16")
	if *update {
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	r, err := parseRecord(want, chain{1, 2, 3}, 40)
	if err != nil {
		t.Fatal(err)
	}
	st := &state{points: []replication.Point{{ID: 7}}}
	if err := st.apply(r); err != nil || st.points[0].Drill == nil || *st.points[0].Drill != x.Drill {
		t.Errorf("got %+v, %v", st.points[0].Drill, err)
	}
}
