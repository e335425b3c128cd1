package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table lays out rows in columns: the first to the left, the others to the right, as numbers want it. Rows may have fewer cells than the first one.
func Table(rows [][]string, indent string) string {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := indent
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				line += cell + pad
			} else {
				line += "  " + pad + cell
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "%s · %d cores · %s of memory · %s · %s on %s\n", m.CPU, m.Cores, Size(m.Memory), m.Kernel, m.FileSystem, m.Device)
	fmt.Fprintf(w, "started %s, load %s\n", r.Started.UTC().Format("2006-01-02 15:04:05Z"), m.Load)
	for _, p := range r.Programs {
		if p.Version == "" {
			fmt.Fprintf(w, "  %s: MISSING (Debian package %s)\n", p.Name, p.Package)
		} else {
			fmt.Fprintf(w, "  %s: %s\n", p.Name, p.Version)
		}
	}
	for _, p := range r.Params {
		fmt.Fprintf(w, "  %s = %s\n", p.Name, p.Value)
	}
	for _, s := range r.Scenarios {
		fmt.Fprintln(w)
		s.WriteText(w)
	}
}

// WriteText writes one scenario for people.
func (s *Scenario) WriteText(w io.Writer) {
	fmt.Fprintf(w, "%s: %s\n", s.Name, s.About)
	if s.Failed != "" {
		fmt.Fprintf(w, "  FAILED: %s\n", s.Failed)
	}
	if len(s.Ways) > 0 {
		fmt.Fprint(w, Table(s.wayRows(), "  "))
	}
	for _, way := range s.Ways {
		if verdict := way.verdict(); verdict != "" {
			fmt.Fprintf(w, "  %s: %s\n", way.Name, verdict)
		}
	}
	if len(s.Stages) > 0 {
		rows := [][]string{{"stage, alone", "bytes", "wall s", "GiB/s", "cpu s"}}
		for _, t := range s.Stages {
			rows = append(rows, []string{t.Name, Size(t.Bytes), fmt.Sprintf("%.2f", t.Seconds), rate(t.Bytes, t.Seconds), number(t.CPU)})
		}
		fmt.Fprint(w, Table(rows, "  "))
	}
	for _, c := range s.Checks {
		met := "met"
		if !c.Met {
			met = "NOT MET"
		}
		fmt.Fprintf(w, "  %s: %s (aim: %s): %s\n", c.Name, c.Text, c.Aim, met)
	}
	for _, n := range s.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
}

func (s *Scenario) wayRows() [][]string {
	rows := [][]string{{"way", "runs", "wall s", "min–max", "first/it", "min–max", "GiB/s", "cpu s", "machine", "wire", "peak memory"}}
	for i, w := range s.Ways {
		if len(w.Samples) == 0 {
			continue
		}
		ratio, pairs := "1", ""
		if i > 0 {
			ratio, pairs = number(w.Ratio.Median), between(w.Ratio)
		}
		rows = append(rows, []string{
			w.Name, fmt.Sprint(len(w.Samples)), fmt.Sprintf("%.2f", w.Seconds.Median), between(w.Seconds), ratio, pairs, rate(s.Bytes, w.Seconds.Median),
			number(w.Median(func(s Sample) float64 { return s.CPU })), number(w.Median(func(s Sample) float64 { return s.MachineCPU })), w.wire(), w.memory(),
		})
	}
	return rows
}

// verdict says why a way has no samples, or fewer than others.
func (w *Way) verdict() string {
	switch {
	case w.Missing != "":
		return "MISSING: " + w.Missing
	case w.Failed != "":
		return "FAILED: " + w.Failed
	}
	return ""
}

func (w *Way) wire() string {
	if n := w.Median(func(s Sample) float64 { return float64(s.Wire) }); n > 0 {
		return Size(int64(n))
	}
	return "-"
}

// memory returns the greatest peak of each program over all samples.
func (w *Way) memory() string {
	peak := make(map[string]int64)
	for _, s := range w.Samples {
		for program, n := range s.PeakRSS {
			peak[program] = max(peak[program], n)
		}
	}
	var all []string
	for _, program := range slices.Sorted(maps.Keys(peak)) {
		all = append(all, program+" "+Size(peak[program]))
	}
	return strings.Join(all, ", ")
}

func between(s Spread) string { return number(s.Min) + "–" + number(s.Max) }

// number returns a figure with two places, "-" for none.
func number(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", f)
}

func rate(bytes int64, seconds float64) string {
	if bytes == 0 || seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(bytes)/(1<<30)/seconds)
}

// Size returns a number of bytes as people write it.
func Size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
