package mastertarget

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"failback/replication"
)

// TestAGroupThatCanNotBeForgottenGoesOn has the catalogue refuse that a group is forgotten: it is protected as before, and can be ended later.
func TestAGroupThatCanNotBeForgottenGoesOn(t *testing.T) {
	full := errors.New("the state directory is full")
	var fails atomic.Bool
	p := newPairWith(t, 3, Config{changing: func() error {
		if fails.Load() {
			return full
		}
		return nil
	}})
	p.begin()
	fails.Store(true)
	if _, _, err := p.master.Unprotect(context.Background(), "g", false, false); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	fails.Store(false)
	for range 2 { // it is opened anew by itself
		p.another()
	}
	p.contents("after it was not forgotten")
	if _, _, err := p.master.Unprotect(context.Background(), "g", false, false); err != nil {
		t.Error(err)
	}
	if _, err := p.master.group("g"); err == nil {
		t.Error("the group is there still")
	}
	p.close()
}

// TestADiskWhoseTargetIsLost has a target go for good: the plan without the disk is refused, with a way out, which is one.
func TestADiskWhoseTargetIsLost(t *testing.T) {
	p := newPair(t, 3)
	p.begin()
	p.close()
	if err := os.Remove(p.dst(1)); err != nil {
		t.Fatal(err)
	}
	p.open()
	without := p.withoutDisk(1)
	_, err := p.master.Apply(context.Background(), replication.ApplyRequest{Plan: without})
	dir := p.master.journalDir("g")
	if x := replication.AsProblem(err); err == nil || !strings.Contains(x.Remedy, "failback unprotect g --keep-journal") || !strings.Contains(x.Remedy, dir) {
		t.Fatalf("got %+v", err)
	}
	if _, _, err := p.master.Unprotect(context.Background(), "g", true, false); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, p.dir+"/aside"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.master.Reprotect(context.Background(), without); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	p.kept = map[replication.PointID][][]byte{1: {p.live[0], p.live[2]}}
	p.names = []string{p.names[0], p.names[2]}
	p.contents("without the disk")
	p.close()
}
