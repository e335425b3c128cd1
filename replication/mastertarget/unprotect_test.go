package mastertarget

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
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
