package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"failback/replication"
)

// say tells one step.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%7.1fs  %s\n", time.Since(d.begin).Seconds(), fmt.Sprintf(format, args...))
}

// proof is a thing that was shown, how, and how often.
type proof struct {
	what, how string
	times     int
}

func (d *demo) proved(what, how string, times int) {
	for i := range d.proofs {
		if d.proofs[i].what == what && d.proofs[i].how == how {
			d.proofs[i].times += times
			return
		}
	}
	d.proofs = append(d.proofs, proof{what, how, times})
}

// cycle is what the making of one point took. After a kill, read and sent are of the run that finished it.
type cycle struct {
	point                    replication.PointID
	changed, read, raw, sent int64
	took                     time.Duration
	note                     string
}

// table ends the demonstration.
func (d *demo) table() {
	fmt.Fprintf(d.out, "\nProved\n")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	for _, p := range d.proofs {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", p.what, p.how, times(p.times))
	}
	w.Flush()
	fmt.Fprintf(d.out, "\nBytes and times\n")
	w = tabwriter.NewWriter(d.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "  point\tchanged\tread at source\tto send\tsent\ttime\t\n")
	var all cycle
	for _, c := range d.cycles {
		fmt.Fprintf(w, "  %d\t%s\t%s\t%s\t%s\t%.1f s\t", c.point, size(c.changed), size(c.read), size(c.raw), size(c.sent), c.took.Seconds())
		if c.note != "" {
			fmt.Fprintf(w, " (%s)", c.note)
		}
		fmt.Fprintln(w)
		all.changed, all.read, all.raw, all.sent, all.took = all.changed+c.changed, all.read+c.read, all.raw+c.raw, all.sent+c.sent, all.took+c.took
	}
	fmt.Fprintf(w, "  all\t%s\t%s\t%s\t%s\t%.1f s\t\n", size(all.changed), size(all.read), size(all.raw), size(all.sent), all.took.Seconds())
	w.Flush()
	mt, ps := d.stand.MasterTarget.Usage(), d.stand.ProcessServer.Usage()
	fmt.Fprintf(d.out, "\nmaster target:  %s written (journal and disks), at most %s of memory, %.1f s of CPU\n", size(mt.Written), size(mt.PeakRSS), mt.CPU().Seconds())
	fmt.Fprintf(d.out, "process server: at most %s of memory, %.1f s of CPU\n", size(ps.PeakRSS), ps.CPU().Seconds())
	fmt.Fprintf(d.out, "\nAll of it came out right, in %.0f s.\n", time.Since(d.begin).Seconds())
}

// size returns a number of bytes as people write it.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
