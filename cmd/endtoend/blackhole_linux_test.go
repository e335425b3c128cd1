package endtoend

import (
	"testing"
	"time"

	"failback/bench/vpn"
	"failback/replication"
)

// TestLanesInABlackHole has a hop with a smaller MTU turn up in the middle of a copy, whose ICMP messages nobody lets through: what lanes carry vanishes, small packets pass, and what the two sides say
// to each other beside goes on. The lanes are given up in time, and when the hop has gone, the copy goes on with others, and is right.
func TestLanesInABlackHole(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for timeouts")
	}
	t.Parallel()
	line := vpn.Line{Rate: vpn.Mbit(40), RTT: 10 * time.Millisecond}
	d := &disk{machine: "m", id: "d", format: "raw", size: 32 * mib, commands: true}
	w, v := newWorldOver(t, vpn.Options{Line: line}, d)
	w.write(d, 0, d.size)
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
	_, err := w.Wait(w.ctx, group, "content is on its way", func(s replication.GroupStatus) bool {
		return len(s.Disks) == 1 && s.Disks[0].Ledger.Raw > 2*mib
	})
	w.must(err)
	from := w.logged(w.ProcessServer)
	narrow := line
	narrow.Blackhole = 600
	v.Set(narrow)
	began := time.Now()
	found := w.said(w.ProcessServer, from, "lane broke", began, 2*foundWithin)
	t.Logf("found after %v", found)
	if found > foundWithin {
		t.Errorf("found after %v, want within %v", found, foundWithin)
	}
	w.must(w.WaitConnected(w.ctx)) // what is small went through all the time
	v.Set(line)
	w.listed(1)
	w.shows(1)
}
