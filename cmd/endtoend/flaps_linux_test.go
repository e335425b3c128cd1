package endtoend

import (
	"context"
	"testing"
	"time"

	"failback/bench/vpn"
)

// TestLinkThatFlaps copies a disk and takes a point over a link whose connections are reset and forgotten, that swallows all for a while, and that loses packets; then the points are what
// the source was.
func TestLinkThatFlaps(t *testing.T) {
	t.Parallel()
	d := &disk{machine: "m", id: "d", format: "raw", size: 24 * mib, commands: true}
	w, v := newWorldOver(t, vpn.Options{Line: vpn.Line{Rate: vpn.Mbit(60), RTT: 10 * time.Millisecond, Loss: 0.001}}, d)
	w.write(d, 0, d.size)
	ctx, stop := context.WithCancel(w.ctx)
	flapped := make(chan int)
	go func() {
		n := 0
		defer func() { flapped <- n }()
		for ctx.Err() == nil && n < 8 {
			_, before := v.Counted()
			for at := before; at.Payload-before.Payload < 3*mib/2; _, at = v.Counted() { // content flows
				select {
				case <-ctx.Done():
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			switch n++; n % 4 {
			case 0: // a middlebox that says nothing: the newer connections get through, the older ones are dead
				v.Swallow(true)
				time.Sleep(time.Second)
				v.Swallow(false)
			default:
				v.Forget(true)
			}
		}
	}()
	w.must(w.Do(w.ctx, nil, "reprotect", w.plan()))
	w.listed(1)
	stop()
	if n := <-flapped; n < 3 {
		t.Errorf("the link failed %d times only", n)
	}
	w.shows(1)
	w.change()
	v.Forget(true)
	point, err := w.Cut(w.ctx, group)
	for tries := 0; err != nil && tries < 20; tries++ { // it dials again
		time.Sleep(500 * time.Millisecond)
		point, err = w.Cut(w.ctx, group)
	}
	w.must(err)
	w.listed(point)
	w.shows(point)
}
