package mastertarget

import (
	"context"
	"io"
	"testing"
	"time"

	"failback/replication"
	"failback/replication/link"
)

// TestCallsThatComeTooOftenAreBounded has the holder of a session ask without end, and take nothing of the answers: a disk has one comparison under way, the newest, and so many of the other calls have their turn.
func TestCallsThatComeTooOftenAreBounded(t *testing.T) {
	e, p := stage(t)
	s := <-p.ships
	fence := link.Fence{Session: s.Session, Point: s.Point}
	var last link.Comparison
	for i := range 1000 {
		c, err := e.Compare(t.Context(), fence, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != nil {
			if _, err := last.Next(); replication.AsProblem(err).Code != link.CodeStale {
				t.Fatalf("comparison %d: an earlier one goes on: %v", i, err)
			}
		}
		last = c
	}
	told := int64(0)
	for {
		side, err := last.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		told = side.End
	}
	if told != puppetSize {
		t.Errorf("the newest told up to %d of %d", told, puppetSize)
	}
	last.Close()
	g, err := e.group("g")
	if err != nil || len(g.comparing) != 0 {
		t.Errorf("%d comparisons are left, %v", len(g.comparing), err)
	}

	hold := make(chan struct{})
	held := make(chan error, coverageCalls)
	lane, err := e.Lane(t.Context(), laneOf(s, attempts()))
	if err != nil {
		t.Fatal(err)
	}
	if err := lane.Send(note(2, 0, 4096)); err != nil { // something to tell
		t.Fatal(err)
	}
	if _, err := lane.Flush(); err != nil {
		t.Fatal(err)
	}
	begun := make(chan bool, coverageCalls)
	for range coverageCalls {
		go func() {
			held <- e.Coverage(context.Background(), fence, func(replication.DiskNo, []replication.Extent) error {
				begun <- true
				<-hold
				return nil
			})
		}()
	}
	for range coverageCalls {
		<-begun
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = e.Coverage(ctx, fence, func(replication.DiskNo, []replication.Extent) error { t.Error("one more was told"); return nil })
	if err == nil {
		t.Error("one more had its turn")
	}
	if _, err := e.Pages(t.Context(), fence, 0, 0); err != nil {
		t.Errorf("another call: %v", err)
	}
	close(hold)
	for range coverageCalls {
		if err := <-held; err != nil {
			t.Error(err)
		}
	}
	if err := e.Coverage(t.Context(), fence, func(replication.DiskNo, []replication.Extent) error { return nil }); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	s.done <- errCut
}
