package transport

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"failback/replication"
)

// TestLimitDoesNotEndLanes has a lane whose part of a limit is so small that what asks for signs of life, and what answers, waits longer behind content than it may take, and even a record of TLS takes
// longer than that to come: the lane comes to its end all the same, by its first connection.
func TestLimitDoesNotEndLanes(t *testing.T) {
	for _, c := range []struct {
		rate, step int // bytes a second, and at once
		frames     int
		least      time.Duration
	}{{4 << 10, 1460, 3, 2 * time.Minute}, {633, 1460, 1, 20 * time.Minute}, {80, 400, 1, 3 * time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			g := &gated{taken: map[uint32]int{}}
			client, end := g.over(t)
			defer end()
			l, err := client.Lane(t.Context(), replication.Lane{Lane: 1, Attempt: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			l.(*lane).Pace(func(n int) int {
				n = min(n, c.step)
				time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
				return n
			})
			began := time.Now()
			for range c.frames {
				if err := l.Send(noise()); err != nil {
					t.Fatalf("%d bytes a second, after %v: %v", c.rate, time.Since(began), err)
				}
			}
			if _, err := l.Flush(); err != nil {
				t.Fatalf("%d bytes a second, after %v: %v", c.rate, time.Since(began), err)
			}
			if took := time.Since(began); took < c.least || g.taken[1] != c.frames {
				t.Errorf("%d bytes a second: %d frames in %v: nothing was held back", c.rate, g.taken[1], took)
			}
		})
	}
}

// TestServerGivesUpWhoVanishes has a network that swallows all that a lane's two ends say, while a limit of the process server holds it back: the master target finds that out as soon as ever.
func TestServerGivesUpWhoVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{taken: map[uint32]int{}, ended: make(chan struct{})}
		client, end := g.over(t)
		defer end()
		l, err := client.Lane(t.Context(), replication.Lane{Lane: 1, Attempt: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		l.(*lane).Pace(func(n int) int { time.Sleep(2 * time.Second); return min(n, 1460) })
		sent := make(chan error, 1)
		go func() { sent <- l.Send(noise()) }()
		time.Sleep(5 * time.Minute)
		select {
		case <-g.ended:
			t.Fatal("the lane has ended, with nothing wrong with it")
		default:
		}
		g.net.Swallow()
		began := time.Now()
		<-g.ended
		if took := time.Since(began); took > keepaliveEvery+keepaliveWait {
			t.Errorf("it took %v, want at most %v", took, keepaliveEvery+keepaliveWait)
		}
		l.Close()
		<-sent
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
