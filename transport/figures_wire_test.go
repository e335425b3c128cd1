package transport

import (
	"testing"
	"time"

	"failback/replication"
)

// TestFiguresBearTheClock of the process server where it tells it, and none where an earlier release does not.
func TestFiguresBearTheClock(t *testing.T) {
	told := figuresToWire(replication.Figures{CPU: 0.5, Memory: 2, StateFree: 3, StateTotal: 2, Frozen: []string{"g/m"}})
	if f := figuresFromWire(told); !f.Clock.IsZero() || time.Since(f.Time) > time.Minute || f.CPU != 0.5 || f.Memory != -1 || f.StateTotal != 0 || len(f.Frozen) != 1 {
		t.Errorf("without a clock: got %+v", f)
	}
	told.UnixNanos = time.Now().Add(-time.Hour).UnixNano()
	if f := figuresFromWire(told); f.Clock.UnixNano() != told.UnixNanos {
		t.Errorf("got %s, want an hour ago", f.Clock)
	}
}
