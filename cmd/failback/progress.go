package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// gauge is how far one thing is, in bytes.
type gauge struct {
	name        string
	done, total int64
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
		parts = append(parts, fmt.Sprintf("%s %s of %s", g.name, percent(g.done, g.total), size(g.total)))
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
	w     io.Writer
	shown *mpb.Progress
	by    []*bar
}

type bar struct {
	name string
	bar  *mpb.Bar
}

func newBars(w io.Writer) *bars {
	return &bars{w: w, shown: mpb.New(mpb.WithOutput(w), mpb.WithWidth(100))}
}

func (b *bars) show(gauges []gauge) {
	for _, g := range gauges {
		i := slices.IndexFunc(b.by, func(have *bar) bool { return have.name == g.name })
		if i < 0 {
			i = len(b.by)
			b.by = append(b.by, &bar{name: g.name, bar: b.shown.AddBar(0,
				mpb.PrependDecorators(decor.Name(g.name, decor.WCSyncSpaceR), decor.CountersKibiByte("% .1f of % .1f", decor.WCSyncSpace)),
				mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.AverageSpeed(decor.SizeB1024(0), " % .1f", decor.WCSyncSpace),
					decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace)),
			)})
		}
		b.by[i].bar.SetTotal(max(g.total, 1), false)
		b.by[i].bar.SetCurrent(g.done)
	}
}

func (b *bars) note(text string) { fmt.Fprintln(b.shown, text) }

func (b *bars) close() {
	for _, one := range b.by {
		one.bar.Abort(false)
	}
	b.shown.Wait()
}
