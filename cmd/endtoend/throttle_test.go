package endtoend

import (
	"testing"
	"time"

	"failback/bench/relay"
	"failback/bench/stand"
)

// TestLimitHoldsOnTheWire copies under a limit and counts between the daemons: no half second carries more than it lets; when the limit is raised in the middle, the rest is over sooner
// than the first one would have let it.
func TestLimitHoldsOnTheWire(t *testing.T) {
	t.Parallel()
	const rate = 4 * mib // bytes a second
	var r *relay.Relay
	d := &disk{machine: "m", id: "d", format: "raw", size: 24 * mib}
	w := newWorldAt(t, stand.Options{}, func(s *stand.Stand) {
		var err error
		if r, err = relay.New(s.Listen); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		s.ProcessServerFlags = append(s.ProcessServerFlags, "--master-target", r.Addr())
	}, d)
	w.write(d, 0, d.size)
	w.must(w.Do(w.ctx, nil, "throttle", "set", "4MiB/s"))
	began := time.Now()
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
	at, last, start := time.Now(), int64(0), int64(0)
	last, _ = r.Counted()
	start = last
	raised := false
	for {
		time.Sleep(500 * time.Millisecond)
		now, n := time.Now(), int64(0)
		n, _ = r.Counted()
		if most := rate*now.Sub(at).Seconds()*1.2 + 256<<10; !raised && float64(n-last) > most { // orders, handshakes and what a socket holds come on top
			t.Errorf("%d bytes in %v, at most %.0f", n-last, now.Sub(at), most)
		}
		at, last = now, n
		if !raised && n-start > d.size/3 {
			w.must(w.Do(w.ctx, nil, "throttle", "set", "800Mbps"))
			raised = true
		}
		g, err := w.Status(w.ctx, group)
		w.must(err)
		if g.Last == 1 || time.Since(began) > patient {
			break
		}
	}
	took, first := time.Since(began), time.Duration(float64(d.size)/rate*float64(time.Second))
	if took > first {
		t.Errorf("took %v: the first limit alone would have let it take %v", took, first)
	}
	if !raised {
		t.Error("it was over before a third of it was on the wire")
	}
	w.listed(1)
	w.shows(1)
}
