package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"failback/bench/harness"
	"failback/bench/vpn"
)

// lab is where scenarios run.
type lab struct {
	*harness.Lab
	config
}

// offloadFrom is the rate from which packets are handed over as network cards do: below, each one is a packet of the link's.
const offloadFrom = 400 // Mbit/s

// link makes a link.
func (l *lab) link(line vpn.Line) (*vpn.VPN, error) {
	return vpn.Open(vpn.Options{Offload: line.Rate >= vpn.Mbit(offloadFrom), Line: line})
}

// scratch makes an empty directory for one run.
func (l *lab) scratch() (string, error) {
	dir := filepath.Join(l.Dir, "run")
	return dir, errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
}

// noise returns a file of so many bytes that do not compress.
func (l *lab) noise(n int64) (string, error) {
	path := filepath.Join(l.Dir, fmt.Sprintf("noise-%d-%d", l.Seed, n))
	if fi, err := os.Stat(path); err == nil && fi.Size() == n {
		return path, nil
	}
	old, _ := filepath.Glob(filepath.Join(l.Dir, "noise-*")) // memory is what it lies in
	for _, o := range old {
		os.Remove(o)
	}
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{byte(l.Seed), byte(l.Seed >> 8)})
	b := make([]byte, 1<<20)
	for n > 0 {
		m := min(n, int64(len(b)))
		random.Read(b[:m])
		if _, err := f.Write(b[:m]); err != nil {
			return "", err
		}
		n -= m
	}
	return path, nil
}

// size is what the link carries in --seconds times n, in whole mebibytes.
func (l *lab) size(rate int, n float64) int64 {
	return max(8<<20, int64(float64(vpn.Mbit(int64(rate)))*l.seconds*n)&^(1<<20-1))
}

// trace is how many bytes of payload have come from the far end at which time.
type trace struct {
	link *vpn.VPN
	at   []moment
	stop chan struct{}
	done chan struct{}
}

type moment struct {
	at    time.Time
	bytes int64
}

const traceEvery = 5 * time.Millisecond

func follow(v *vpn.VPN) *trace {
	t := &trace{link: v, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		tick := time.NewTicker(traceEvery)
		defer tick.Stop()
		for {
			t.look()
			select {
			case <-tick.C:
			case <-t.stop:
				t.look()
				return
			}
		}
	}()
	return t
}

func (t *trace) look() {
	_, home := t.link.Counted()
	t.at = append(t.at, moment{time.Now(), home.Payload - home.Again})
}

// The part of a job that is its middle, in what has come of what comes.
const middleFrom, middleTo = 0.15, 0.90

// end returns what went over the link, and the rate in the middle of the job, of so many bytes in all.
func (t *trace) end(bytes int64) (s sample) {
	close(t.stop)
	<-t.done
	first, last := t.at[0].bytes, t.at[len(t.at)-1].bytes
	reached := func(share float64) time.Time {
		for _, m := range t.at {
			if float64(m.bytes-first) >= share*float64(last-first) {
				return m.at
			}
		}
		return t.at[len(t.at)-1].at
	}
	if took := reached(middleTo).Sub(reached(middleFrom)).Seconds(); took > 0 {
		s.Middle = (middleTo - middleFrom) * float64(bytes) / took
	}
	away, home := t.link.Counted()
	s.Wire = away.Payload - away.Again + home.Payload - home.Again
	s.Again = away.Again + home.Again
	return s
}

// job is what is copied, over which link.
type job struct {
	line   vpn.Line
	source string
	bytes  int64 // of data in source
	flags  []string
	views  bool                                                 // the source has stable views
	during func(ctx context.Context, v *vpn.VPN, p *pair) error // runs beside the copy; nil: nothing
}

// alternate runs all ways in turn, as often as wanted.
func (l *lab) alternate(c *cell, runs []func() (sample, error), names []string) error {
	for _, n := range names {
		c.Ways = append(c.Ways, &way{Name: n})
	}
	for round := range l.Repeats {
		for i := range runs {
			at := (i + round) % len(runs)
			s, err := runs[at]()
			if err != nil {
				return fmt.Errorf("%s: %w", names[at], err)
			}
			l.Say("%s: %.2f s", names[at], s.Seconds)
			c.Ways[at].Runs = append(c.Ways[at].Runs, s)
		}
	}
	return nil
}
