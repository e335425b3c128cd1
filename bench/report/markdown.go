package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the report as a Markdown page: a table for each scenario.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# failback, measured\n\nWritten by `go run ./bench`; what the columns mean, and what misleads, is in [README.md](README.md).\n\n")
	for _, line := range r.head() {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, s := range r.Scenarios {
		fmt.Fprintf(&b, "\n## %s\n\n%s", s.Name, s.About)
		if s.Storage != "" && s.Storage != r.Machine.Storage {
			fmt.Fprintf(&b, " On %s.", s.Storage)
		}
		b.WriteString("\n\n")
		if s.Failed != "" {
			fmt.Fprintf(&b, "**FAILED**: %s\n\n", s.Failed)
		}
		if len(s.Ways) > 0 {
			b.WriteString(markdownTable(s.wayRows()))
		}
		if len(s.Stages) > 0 {
			b.WriteString(markdownTable(s.stageRows()))
		}
		for _, line := range s.says() {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	b.WriteString("\n## With what\n\n| program | version |\n| --- | --- |\n")
	for _, p := range r.Programs {
		fmt.Fprintf(&b, "| %s | %s |\n", p.Name, cell(p.said()))
	}
	b.WriteString("\n| parameter | value |\n| --- | --- |\n")
	for _, p := range r.Params {
		fmt.Fprintf(&b, "| %s | %s |\n", p.Name, cell(p.Value))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func markdownTable(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, c := range row {
			b.WriteString("| " + cell(c) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString("| --- " + strings.Repeat("| ---: ", len(row)-1) + "|\n")
		}
	}
	return b.String() + "\n"
}
