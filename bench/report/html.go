package report

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// WriteHTML writes the report as one page that needs nothing else: dark or light as the reader's system is, plots as SVG.
func (r *Report) WriteHTML(w io.Writer) error {
	type section struct {
		*Scenario
		ID           string
		Bars         *bars
		Charts       []chart
		Rows, Stages [][]string
		Says         []said
	}
	type program struct{ Name, Said string }
	data := struct {
		Head      []string
		Scenarios []section
		Programs  []program
		Params    []Param
	}{Head: r.head(), Params: r.Params}
	for _, p := range r.Programs {
		data.Programs = append(data.Programs, program{p.Name, p.said()})
	}
	for _, s := range r.Scenarios {
		one := section{Scenario: s, ID: strings.NewReplacer(" ", "-", "/", "-", "%", "", ".", "-").Replace(s.Name), Bars: s.bars()}
		if len(s.Ways) > 0 {
			one.Rows = s.wayRows()
		}
		if len(s.Stages) > 0 {
			one.Stages = s.stageRows()
		}
		for _, line := range s.says() {
			one.Says = append(one.Says, said{line, kindOf(line)})
		}
		for _, p := range s.Plots {
			one.Charts = append(one.Charts, p.chart())
		}
		data.Scenarios = append(data.Scenarios, one)
	}
	return page.Execute(w, data)
}

// said is a line, with how it is to be shown.
type said struct{ Text, Kind string }

func kindOf(line string) string {
	switch {
	case strings.HasSuffix(line, ": met"):
		return "good"
	case strings.HasSuffix(line, "NOT MET"), strings.Contains(line, "FAILED: "), strings.Contains(line, "MISSING: "):
		return "bad"
	case strings.HasPrefix(line, "note: "):
		return "note"
	}
	return ""
}
