package mastertarget

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"failback/blockio"
	"failback/replication"
)

// hungTarget is a target whose storage does not answer when it is closed, until it is let go.
type hungTarget struct {
	blockio.Target
	inside chan<- struct{}
	letGo  <-chan struct{}
}

func (t hungTarget) Close() error {
	select {
	case t.inside <- struct{}{}:
	default:
	}
	<-t.letGo
	return t.Target.Close()
}

// TestOtherGroupsGoOnWhileOneHangs: a group whose storage hangs as it closes keeps nobody from protecting, changing and ending other groups; who wants something of it waits, and gets the answer of then.
func TestOtherGroupsGoOnWhileOneHangs(t *testing.T) {
	t.Parallel()
	inside, letGo := make(chan struct{}, 1), make(chan struct{})
	var hung string
	p := newPairWith(t, 97, Config{wrap: func(path string, t blockio.Target) blockio.Target {
		if path == hung {
			return hungTarget{t, inside, letGo}
		}
		return t
	}})
	hung = p.dst(1)
	ctx := context.Background()
	if _, _, err := p.master.Reprotect(ctx, p.plan); err != nil {
		t.Fatal(err)
	}
	p.listed(1)
	ended := called(func() (replication.PointID, error) {
		head, _, err := p.master.Unprotect(ctx, "g", false, false)
		return head, err
	})
	<-inside
	again := called(func() (replication.PointID, error) {
		_, _, err := p.master.Unprotect(ctx, "g", false, false)
		return 0, err
	})

	src := filepath.Join(p.dir, "other.src")
	if err := os.WriteFile(src, []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := fmt.Sprintf("group: h\nos: linux\nprocess_server: ps\nmachines: [{name: c, disks: [{id: one, source: 'image:%s', target: %s}]}]\n", src, filepath.Join(p.dir, "other.raw"))
	others := called(func() (replication.PointID, error) {
		if _, _, err := p.master.Reprotect(ctx, []byte(other)); err != nil {
			return 0, err
		}
		if r, err := p.master.Apply(ctx, replication.ApplyRequest{Plan: []byte(other + "priority: 7\n")}); err != nil || !r.Applied {
			return 0, fmt.Errorf("apply: %+v, %w", r, err)
		}
		_, _, err := p.master.Unprotect(ctx, "h", false, false)
		return 0, err
	})
	select {
	case a := <-others:
		if a.err != nil {
			t.Errorf("of the other group: %v", a.err)
		}
	case a := <-ended:
		t.Fatalf("the group has ended before its storage answered: %+v", a)
	case a := <-again:
		t.Fatalf("who ends it once more does not wait: %+v", a)
	case <-time.After(3 * time.Minute):
		t.Error("operators' calls about another group hang")
	}
	close(letGo)
	if a := <-ended; a.err != nil {
		t.Errorf("when the storage answers: %v", a.err)
	}
	isProblem(t, "once more", (<-again).err, "no-such-group")
	p.close()
}
