package transport

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"failback/replication"
)

// TestLimitDoesNotEndLanes has a lane whose part of a limit is so small that what asks for signs of life waits longer behind content than an answer may take: the lane comes to its end all the same, by
// its first connection.
func TestLimitDoesNotEndLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{taken: map[uint32]int{}}
		c, end := g.over(t)
		defer end()
		l, err := c.Lane(t.Context(), replication.Lane{Lane: 1, Attempt: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		const rate = 4 << 10 // bytes a second
		l.(*lane).Pace(func(n int) int {
			n = min(n, 1460)
			time.Sleep(time.Duration(n) * time.Second / rate)
			return n
		})
		began := time.Now()
		for range 3 {
			if err := l.Send(noise()); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		if _, err := l.Flush(); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if took := time.Since(began); took < 2*time.Minute || g.taken[1] != 3 {
			t.Errorf("%d frames in %v: nothing was held back", g.taken[1], took)
		}
	})
}

// TestVigil gives up a connection of which nothing comes, in time, and none that is held back.
func TestVigil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		began := time.Now()
		v := keepVigil(ours)
		time.Sleep(silentFor / 2)
		v.holds()
		time.Sleep(3 * silentFor)
		v.released(3 * silentFor)
		held := time.Now()
		v.holds() // lets through at once
		v.released(0)
		_, err := ours.Read(make([]byte, 1))
		if err = v.came(0, err); err == nil || !strings.Contains(err.Error(), "nothing came") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(held); took != silentFor {
			t.Errorf("given up after %v (%v in all), want %v after it was held back", took, time.Since(began), silentFor)
		}
	})
}
