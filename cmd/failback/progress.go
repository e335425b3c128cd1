package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// gauge is how far one thing is, in bytes.
type gauge struct {
	name        string
	done, total int64
	rate        float64       // bytes a second, where the master target tells; 0: it does not
	left        time.Duration // until all is done, likewise
}

// progress shows how far things are. Only one goroutine uses it.
type progress interface {
	show(gauges []gauge)
	note(text string)
	close() // leaves what was shown last standing
}

// silent shows nothing.
type silent struct{}

func (silent) show([]gauge) {}
func (silent) note(string)  {}
func (silent) close()       {}

// lines shows progress as a line of text now and then.
type lines struct {
	w     io.Writer
	every time.Duration
	last  time.Time
	said  string
}

func (l *lines) show(gauges []gauge) {
	now := time.Now()
	if len(gauges) == 0 || now.Sub(l.last) < l.every {
		return
	}
	var parts []string
	for _, g := range gauges {
		text := fmt.Sprintf("%s %s of %s", g.name, percent(g.done, g.total), size(g.total))
		if g.left > 0 {
			text += fmt.Sprintf(" (%s left)", age(g.left))
		}
		parts = append(parts, text)
	}
	if text := strings.Join(parts, ", "); text != l.said {
		l.last, l.said = now, text
		fmt.Fprintln(l.w, text)
	}
}

func (l *lines) note(text string) { fmt.Fprintln(l.w, text) }
func (l *lines) close()           {}

// bars shows a bar for each thing.
type bars struct {
	shown *mpb.Progress
	by    []*bar
}

// bar is one bar. What was done before it was shown, in an earlier run, does not count for its rate.
type bar struct {
	name  string
	bar   *mpb.Bar
	first int64
	since time.Time
	told  atomic.Pointer[gauge] // as it was shown last
}

func newBars(w io.Writer) *bars { return &bars{shown: mpb.New(mpb.WithOutput(w), mpb.WithWidth(100))} }

func (b *bars) show(gauges []gauge) {
	for _, g := range gauges {
		i := slices.IndexFunc(b.by, func(have *bar) bool { return have.name == g.name })
		if i < 0 {
			i = len(b.by)
			b.by = append(b.by, b.add(g))
		}
		b.by[i].told.Store(&g)
		b.by[i].bar.SetTotal(max(g.total, 1), false)
		b.by[i].bar.SetCurrent(g.done)
	}
}

func (b *bars) add(g gauge) *bar {
	one := &bar{name: g.name, first: g.done, since: time.Now()}
	one.bar = b.shown.AddBar(0,
		mpb.PrependDecorators(
			decor.Name(g.name, decor.WCSyncSpaceR),
			decor.Any(func(s decor.Statistics) string { return size(s.Current) + " of " + size(s.Total) }, decor.WCSyncSpace)),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string { return percent(s.Current, s.Total) }, decor.WC{W: 6}),
			decor.Any(func(s decor.Statistics) string {
				if g := one.told.Load(); g != nil && g.rate > 0 {
					return fmt.Sprintf("%s/s, %s left", size(int64(g.rate)), age(g.left))
				}
				return rateOf(s.Current-one.first, s.Total-s.Current, time.Since(one.since))
			}, decor.WCSyncSpace)))
	return one
}

// rateOf tells the rate at which done was done, and how long what is left takes at that rate.
func rateOf(done, left int64, elapsed time.Duration) string {
	if done <= 0 || elapsed < time.Second {
		return ""
	}
	rate := float64(done) / elapsed.Seconds()
	if left <= 0 {
		return size(int64(rate)) + "/s"
	}
	seconds := min(float64(left)/rate, 1e9)
	return fmt.Sprintf("%s/s, %s left", size(int64(rate)), age(time.Duration(seconds*float64(time.Second))))
}

func (b *bars) note(text string) { fmt.Fprintln(b.shown, text) }

func (b *bars) close() {
	for _, one := range b.by {
		one.bar.Abort(false)
	}
	b.shown.Wait()
}
