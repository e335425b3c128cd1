package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Plot is figures over time or another quantity.
type Plot struct {
	Title string `json:"title"`
	X     string `json:"x"` // what is to the right, with its unit
	Y     string `json:"y"`
	Lines []Line `json:"lines"`
}

// Line is one of a plot's.
type Line struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// Values returns what a line shows, without when.
func (l Line) Values() (all []float64) {
	for _, p := range l.Points {
		all = append(all, p[1])
	}
	return all
}

// Thinned returns the line with about so many points: of neighbours the greatest one stays.
func (l Line) Thinned(most int) Line {
	each := (len(l.Points) + most - 1) / most
	if each < 2 {
		return l
	}
	thin := Line{Name: l.Name}
	for some := range slices.Chunk(l.Points, each) {
		thin.Points = append(thin.Points, slices.MaxFunc(some, func(a, b [2]float64) int { return cmp.Compare(a[1], b[1]) }))
	}
	return thin
}

// Sizes of plots, in the units of their view boxes; a browser scales them.
const (
	plotWidth  = 480
	barHeight  = 22
	barStep    = 44
	chartLeft  = 54
	chartTop   = 12
	chartRight = plotWidth - 12
	chartBase  = 200
)

// bars is a bar for each way, with its spread, and a mark where its bound is.
type bars struct {
	Width, Height int
	Axis          string // what they show, and which is better
	Bars          []bar
}

type bar struct {
	Name, Value        string
	Peer               bool
	Y, LabelY, Middle  int
	Width, Low, High   float64
	Bound              float64 // 0: none
	BarHeight, BoundY2 int
}

// bars returns nil where there is nothing to compare.
func (s *Scenario) bars() *bars {
	b := &bars{Width: plotWidth, Axis: "seconds: a shorter bar is quicker; the thin line is from the quickest to the slowest run, the dashed one the bound"}
	if s.Unit != "" {
		b.Axis = s.Unit + ": a longer bar is quicker; the thin line is from the slowest to the quickest run"
	}
	most := 0.0
	for _, w := range s.Ways {
		most = max(most, s.main(w).Max)
	}
	if most == 0 || len(s.Ways) < 2 {
		return nil
	}
	scale := func(v float64) float64 { return math.Round(v/most*(plotWidth-90)*10) / 10 }
	for _, w := range s.Ways {
		if len(w.Samples) == 0 {
			continue
		}
		m, y := s.main(w), len(b.Bars)*barStep
		one := bar{Name: w.Name, Value: number(m.Median), Peer: w.Peer, LabelY: y + 14, Y: y + 19, Middle: y + 19 + barHeight/2, BarHeight: barHeight, BoundY2: y + 19 + barHeight,
			Width: scale(m.Median), Low: scale(m.Min), High: scale(m.Max)}
		if w.Bound != nil && s.Unit == "" {
			one.Bound = scale(w.Bound.Seconds)
		}
		b.Bars = append(b.Bars, one)
	}
	b.Height = len(b.Bars)*barStep + 6
	return b
}

// main is what the scenario compares.
func (s *Scenario) main(w *Way) Spread {
	if s.Unit != "" {
		return w.Rate
	}
	return w.Seconds
}

// chart is a plot's lines as an SVG draws them.
type chart struct {
	Title, X, Y           string
	Width, Height         int
	Left, Right, Top, Low int
	Lines                 []drawn
	YTicks, XTicks        []tick
}

type drawn struct {
	Name, Path string
	Class      int
}

type tick struct {
	At   float64
	Text string
}

func (p Plot) chart() chart {
	c := chart{Title: p.Title, X: p.X, Y: p.Y, Width: plotWidth, Height: chartBase + 42, Left: chartLeft, Right: chartRight, Top: chartTop, Low: chartBase}
	var mostX, mostY float64
	for _, l := range p.Lines {
		for _, at := range l.Points {
			mostX, mostY = max(mostX, at[0]), max(mostY, at[1])
		}
	}
	mostX, mostY = max(mostX, 1e-9), max(mostY, 1e-9)
	x := func(v float64) float64 { return chartLeft + v/mostX*(chartRight-chartLeft) }
	y := func(v float64) float64 { return chartBase - v/mostY*(chartBase-chartTop) }
	for i, l := range p.Lines {
		var path strings.Builder
		for k, at := range l.Points {
			letter := "L"
			if k == 0 {
				letter = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", letter, x(at[0]), y(at[1]))
		}
		c.Lines = append(c.Lines, drawn{l.Name, path.String(), i})
	}
	for _, v := range ticks(mostY) {
		c.YTicks = append(c.YTicks, tick{y(v), fmt.Sprintf("%g", v)})
	}
	for _, v := range ticks(mostX) {
		c.XTicks = append(c.XTicks, tick{x(v), fmt.Sprintf("%g", v)})
	}
	return c
}

// ticks returns some round figures from 0 up to most.
func ticks(most float64) (all []float64) {
	step := math.Pow(10, math.Floor(math.Log10(most)))
	switch {
	case most/step < 2:
		step /= 5
	case most/step < 5:
		step /= 2
	}
	for k := 0; float64(k)*step <= most; k++ {
		all = append(all, math.Round(float64(k)*step*1e9)/1e9)
	}
	return all
}
