package mastertarget

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
)

// sampledTarget holds writes to the first disk back, and takes its time to sample the last one. Real clocks: what writes may be a thread in a system call.
type sampledTarget struct {
	blockio.Target
	path string
	x    *moveGate
}

func (t sampledTarget) WriteAt(b []byte, off int64) (int, error) {
	if filepath.Base(t.path) == "a2.raw" {
		t.x.pass(&t.x.writes)
	}
	return t.Target.WriteAt(b, off)
}

func (t sampledTarget) Fingerprint(ctx context.Context) (blockio.Fingerprint, error) {
	f, err := t.Target.Fingerprint(ctx)
	if filepath.Base(t.path) == "b1.vmdk" {
		time.Sleep(300 * time.Millisecond)
	}
	return f, err
}

// TestStoppedWhileDisksMove: the fingerprints that a stopping master target takes are of disks that nobody writes any more, although an operator's move was under way.
func TestStoppedWhileDisksMove(t *testing.T) {
	x := &moveGate{inside: make(chan struct{}, 1)}
	defer x.open()
	p := newPairWith(t, 8, Config{wrap: func(path string, t blockio.Target) blockio.Target { return sampledTarget{t, path, x} }})
	ctx := context.Background()
	none := func(replication.MoveStatus) {}
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	if _, err := p.master.Move(ctx, "g", replication.MoveRequest{To: 1}, none); err != nil {
		t.Fatal(err)
	}
	for i := range p.live {
		for k := range p.live[i] {
			p.live[i][k] = byte(k%251 + 1)
		}
		p.write(i)
	}
	id, err := p.master.Cut(ctx, "g", false)
	if err != nil {
		t.Fatal(err)
	}
	p.listed(id)
	x.shut(&x.writes)
	m := p.master
	done := called(func() (replication.PointID, error) {
		return m.Move(ctx, "g", replication.MoveRequest{Advance: true}, none)
	})
	<-x.inside
	time.AfterFunc(100*time.Millisecond, x.open)
	p.close()
	<-done
	p.open()
	g, err := p.master.group("g")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.waitReady(ctx); err != nil {
		t.Errorf("after a stop in the middle of an operator's move: %v", err)
	}
	p.close()
}
