package report

import (
	"fmt"
	"io"
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

// head is where and when a report was made, a line each.
func (r *Report) head() []string {
	m := r.Machine
	return []string{
		fmt.Sprintf("%s · %d cores · %s of memory · %s · %s · %s", m.CPU, m.Cores, Size(m.Memory), m.OS, m.Kernel, m.Storage),
		fmt.Sprintf("started %s, load %s; the run took %.0f s", r.Started.UTC().Format("2006-01-02 15:04:05Z"), m.Load, r.Seconds),
	}
}

// said is a program's version, or what to do.
func (p Program) said() string {
	if p.Version == "" {
		return "MISSING: apt-get install " + p.Package
	}
	return p.Version
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) {
	for _, line := range r.head() {
		fmt.Fprintln(w, line)
	}
	for _, p := range r.Programs {
		fmt.Fprintf(w, "  %s: %s\n", p.Name, p.said())
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
	if len(s.Stages) > 0 {
		fmt.Fprint(w, Table(s.stageRows(), "  "))
	}
	for _, line := range s.says() {
		fmt.Fprintf(w, "  %s\n", line)
	}
}
