package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// wayRows is the table of a scenario's ways: a heading, and a row for each that has samples. Columns in which nobody has anything are left out.
func (s *Scenario) wayRows() [][]string {
	first := "wall s"
	if s.Unit != "" {
		first = s.Unit
	}
	rows := [][]string{{"way", "runs", first, "min–max", "ours ×", "min–max", "GiB/s", "of bound", "cpu s", "cpu s/GiB", "machine", "wire"}}
	named := map[string]bool{}
	for _, w := range s.Ways {
		for _, one := range w.Samples {
			for name := range one.Figures {
				named[name] = true
			}
		}
	}
	figures := slices.Sorted(maps.Keys(named))
	rows[0] = append(append(rows[0], figures...), "peak memory")
	for i, w := range s.Ways {
		if len(w.Samples) == 0 {
			continue
		}
		main, gib := w.Seconds, rate(s.Bytes, w.Seconds.Median)
		if s.Unit != "" {
			main, gib = w.Rate, "-"
		}
		ratio, pairs, share := "1", "", "-"
		if i > 0 {
			ratio, pairs = number(w.Ratio.Median), between(w.Ratio)
		}
		if w.Bound != nil {
			share = number(w.Share.Median)
		}
		cpu := w.Median(func(s Sample) float64 { return s.CPU })
		each := "-"
		if s.Bytes > 0 && cpu > 0 {
			each = fmt.Sprintf("%.2f", cpu/(float64(s.Bytes)/(1<<30)))
		}
		row := []string{w.Name, fmt.Sprint(len(w.Samples)), number(main.Median), between(main), ratio, pairs, gib, share, number(cpu), each,
			number(w.Median(func(s Sample) float64 { return s.MachineCPU })), w.wire()}
		for _, name := range figures {
			row = append(row, number(w.Fig(name)))
		}
		rows = append(rows, append(row, w.memory()))
	}
	return withoutEmpty(rows)
}

// withoutEmpty leaves out columns that say nothing in any row.
func withoutEmpty(rows [][]string) [][]string {
	var kept [][]string
	for range rows {
		kept = append(kept, nil)
	}
	for col := range rows[0] {
		says := col == 0 || len(rows) == 1
		for _, row := range rows[1:] {
			says = says || row[col] != "" && row[col] != "-" && row[col] != "1" || col == 1
		}
		for i, row := range rows {
			if says {
				kept[i] = append(kept[i], row[col])
			}
		}
	}
	return kept
}

func (s *Scenario) stageRows() [][]string {
	rows := [][]string{{"stage, alone", "bytes", "wall s", "GiB/s", "cpu s", "needed by"}}
	for _, t := range s.Stages {
		by := strings.Join(t.NeededBy, "; ")
		if len(t.NeededBy) > 0 && len(t.NeededBy) == len(s.ours()) {
			by = "all of ours"
		}
		if by == "" {
			by = "-"
		}
		rows = append(rows, []string{t.Name, Size(t.Bytes), fmt.Sprintf("%.2f", t.Seconds), rate(t.Bytes, t.Seconds), number(t.CPU), by})
	}
	return rows
}

func (s *Scenario) ours() (all []*Way) {
	for _, w := range s.Ways {
		if !w.Peer {
			all = append(all, w)
		}
	}
	return all
}

// says are lines that belong to a scenario: what is missing or failed, what binds, figures with their aims, and notes.
func (s *Scenario) says() (all []string) {
	for _, w := range s.Ways {
		if verdict := w.verdict(); verdict != "" {
			all = append(all, w.Name+": "+verdict)
		}
	}
	for _, w := range s.Ways {
		if w.Bound != nil && len(w.Samples) > 0 {
			all = append(all, fmt.Sprintf("%s: by its stages it takes at least %.2f s, bound by: %s; it goes at %.2f of that rate (%s)", w.Name, w.Bound.Seconds, w.Bound.Binds, w.Share.Median, between(w.Share)))
		}
	}
	for _, c := range s.Checks {
		met := "met"
		if !c.Met {
			met = "NOT MET"
		}
		all = append(all, fmt.Sprintf("%s: %s (aim: %s): %s", c.Name, c.Text, c.Aim, met))
	}
	for _, n := range s.Notes {
		all = append(all, "note: "+n)
	}
	return all
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
	programs := make(map[string]bool)
	for _, s := range w.Samples {
		for program := range s.PeakRSS {
			programs[program] = true
		}
	}
	var all []string
	for _, program := range slices.Sorted(maps.Keys(programs)) {
		all = append(all, program+" "+Size(w.Peak(program)))
	}
	return strings.Join(all, ", ")
}

func between(s Spread) string {
	if s == (Spread{}) {
		return "-"
	}
	return number(s.Min) + "–" + number(s.Max)
}

// number returns a figure with two places, "-" for none.
func number(f float64) string {
	switch {
	case f == 0:
		return "-"
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f < 0.01:
		return fmt.Sprintf("%.4f", f)
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
