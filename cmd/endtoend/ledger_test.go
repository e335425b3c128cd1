package endtoend

import (
	"testing"

	"failback/bench/relay"
	"failback/bench/stand"
)

// TestLedgerIsWhatTheWireCarried counts between the daemons: what the ledgers say of the wire is what passed, but for the connection that orders go over, and what is
// not theirs.
func TestLedgerIsWhatTheWireCarried(t *testing.T) {
	t.Parallel()
	var r *relay.Relay
	w := newWorldAt(t, stand.Options{}, func(s *stand.Stand) {
		var err error
		if r, err = relay.New(s.Listen); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		s.ProcessServerFlags = append(s.ProcessServerFlags, "--master-target", r.Addr())
	}, threeDisks()...)
	before, _ := r.Counted()
	w.protect()
	for range 3 {
		g, err := w.Status(w.ctx, group)
		w.must(err)
		toward, _ := r.Counted()
		wire := int64(0)
		for _, d := range g.Disks {
			if err := d.Ledger.Check(); err != nil {
				t.Errorf("point %d: %v", w.last, err)
			}
			wire += d.Ledger.Wire
		}
		const others = 64 << 10 // orders, questions and progress, with their handshake
		if passed := toward - before; wire == 0 || wire > passed || passed-wire > others {
			t.Errorf("point %d: the ledgers tell %d bytes on the wire, %d passed", w.last, wire, passed)
		}
		before = toward
		w.cut()
	}
}
