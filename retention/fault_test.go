package retention

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"failback/replication"
)

// faults lives a world in which single operations fail, or the volume is full for a while, and the power stays on.
func (w *world) faults(steps int, full bool) (hits int, err error) {
	if err := w.start(); err != nil {
		return 0, err
	}
	w.m.onOp = nil // readers meet their own errors below
	for i := range steps {
		armed := w.r.IntN(2) == 0
		if armed && full {
			w.m.fullFrom = w.m.ops + 1 + w.r.IntN(20)
		} else if armed {
			w.m.failAt = w.m.any + 1 + w.r.IntN(120)
		}
		err := w.step()
		failed := w.m.failed
		w.m.failAt, w.m.fullFrom, w.m.failed, w.m.badIn = 0, 0, "", nil
		if failed != "" {
			hits++
		}
		if passes(failed) { // read twice in vain, it is damage, and may have been quarantined
			w.blinds = []replication.PointID{0}
		}
		switch {
		case err == nil && failed != "" && !strings.HasPrefix(failed, "remove ") && !passes(failed):
			return hits, fmt.Errorf("step %d: the error of %q did not surface", i, failed)
		case err != nil && full && !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrClosed):
			return hits, fmt.Errorf("step %d: got %w want ErrNoSpace", i, err)
		case err != nil && full && w.j.usable() != nil && !errors.Is(w.j.usable(), ErrClosed): // closed for disks to join
			return hits, fmt.Errorf("step %d: a full volume poisons: %w", i, err)
		case err != nil && !full && !errors.Is(err, errInjected) && !(errors.Is(err, ErrCorrupt) && w.hurt()):
			return hits, fmt.Errorf("step %d: %w", i, err)
		}
		if err != nil && full {
			hits++
		}
		if w.j.usable() != nil {
			if err := w.j.Close(); err != nil {
				return hits, err
			}
			if w.r.IntN(2) == 0 {
				w.m.reboot()
			} else {
				w.m.kill()
				w.m.forgetCached()
			}
			if err := w.start(); err != nil {
				return hits, fmt.Errorf("step %d: after a failed sync: %w", i, err)
			}
			w.m.onOp = nil
			continue
		}
		if err != nil {
			w.maybe, w.gone = 0, nil
			if len(w.j.Points()) != len(w.listed) {
				return hits, fmt.Errorf("step %d: %d points after %w", i, len(w.j.Points()), err)
			}
			if w.j.OpenCycle() == nil {
				w.cycle = nil
			}
		}
		if err := w.check("after an error"); err != nil {
			return hits, fmt.Errorf("step %d (%v, %q): %w", i, err, failed, err)
		}
	}
	return hits, w.j.Close()
}

// passes says whether what failed is tried again: to read a sealed file.
func passes(failed string) bool {
	return (strings.HasPrefix(failed, "read ") || strings.HasPrefix(failed, "open ")) && (strings.HasSuffix(failed, segSuffix) || strings.HasSuffix(failed, saveSuffix) || strings.HasSuffix(failed, packSuffix))
}

func TestFaultsSurface(t *testing.T) {
	for name, full := range map[string]bool{"InputOutput": false, "NoSpace": true} {
		t.Run(name, func(t *testing.T) {
			all := 0
			for seed := range uint64(fewer(150)) {
				w := newWorld(seed)
				w.frail = false // nothing is damaged by itself here
				n, err := w.faults(60, full)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				all += n
			}
			t.Logf("%d errors", all)
		})
	}
}

// fewer scales how much a test does.
func fewer(n int) int {
	if testing.Short() {
		n /= 10
	}
	return max(n/slow, 1)
}

// TestCreateIsDurable ends the process, or the power, at every operation of making a journal, goes on, and ends the power again.
func TestCreateIsDurable(t *testing.T) {
	for k := 1; ; k++ {
		for _, kill := range []bool{true, false} {
			w := newWorld(uint64(k))
			w.m.cutAt = k
			j, err := create(w.m.volume(), worldDir, w.identity(), w.t)
			if err == nil && !w.m.off {
				j.Close()
				return
			}
			for round := range 2 {
				if kill && round == 0 {
					w.m.kill()
				} else {
					w.m.reboot()
				}
				j, err = open(w.m.volume(), worldDir, "web", w.t)
				if err != nil && round == 0 {
					j, err = create(w.m.volume(), worldDir, w.identity(), w.t)
				}
				if err != nil {
					t.Fatalf("operation %d, kill %v, round %d: %v", k, kill, round, err)
				}
				if round == 1 && j.Generation() != 1 {
					t.Fatalf("operation %d, kill %v: generation %d want 1", k, kill, j.Generation())
				}
				if round == 0 {
					if _, err := j.Adopt(0); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}
