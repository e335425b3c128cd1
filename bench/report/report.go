package report

import (
	"fmt"
	"runtime"
	"time"
)

// Report is one run of the harness.
type Report struct {
	Started   time.Time   `json:"started"`
	Seconds   float64     `json:"seconds"` // that the run took
	Machine   Machine     `json:"machine"`
	Programs  []Program   `json:"programs"`
	Params    []Param     `json:"params"`
	Scenarios []*Scenario `json:"scenarios"`
}

// Program is one that takes part.
type Program struct {
	Name    string `json:"name"`
	Package string `json:"package,omitempty"` // of Debian
	Version string `json:"version,omitempty"` // empty: it is missing
}

// Param is a setting of the run or of a scenario, in words.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Scenario is a job, done in several ways.
type Scenario struct {
	Name    string   `json:"name"`
	About   string   `json:"about"`             // the job, with its sizes
	Storage string   `json:"storage,omitempty"` // file system and device of the work directory
	Bytes   int64    `json:"bytes"`             // that the job is about; rates are of these
	Unit    string   `json:"unit,omitempty"`    // of the samples' rates, where these are compared and not times
	Ways    []*Way   `json:"ways"`
	Stages  []Stage  `json:"stages,omitempty"`
	Plots   []Plot   `json:"plots,omitempty"`
	Checks  []Check  `json:"checks,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Failed  string   `json:"failed,omitempty"` // why there is no result
}

// Way is one way of doing the job. The first one of a scenario is ours: the others are measured against it.
type Way struct {
	Name    string   `json:"name"`
	Peer    bool     `json:"peer,omitempty"`    // it is not ours
	Missing string   `json:"missing,omitempty"` // what to install for it
	Failed  string   `json:"failed,omitempty"`
	Samples []Sample `json:"samples"`
	// What follows from the samples and the stages; Finish fills it in.
	Seconds Spread `json:"seconds"`
	Rate    Spread `json:"rate,omitzero"`           // in the scenario's unit
	Ratio   Spread `json:"first_times_as_quick"`    // the first way's speed to this one's, in pairs; zero for the first
	Bound   *Bound `json:"bound,omitempty"`         // nil: no stage is known that this way needs
	Share   Spread `json:"share_of_bound,omitzero"` // the bound's time to the samples'
}

// Stage is one part of the job, done alone on this machine: what bounds every way that cannot do without it.
type Stage struct {
	Name     string   `json:"name"`
	Bytes    int64    `json:"bytes"`
	Seconds  float64  `json:"seconds"`     // with all cores, where the work divides
	CPU      float64  `json:"cpu_seconds"` // on all cores
	NeededBy []string `json:"needed_by"`   // ways that cannot do without it; none: it is told for comparison
}

// Bound is the least time that a way can take, by its stages.
type Bound struct {
	Seconds float64 `json:"seconds"`
	Binds   string  `json:"binds"` // the slowest stage that is needed; or the cores, which all share
}

// BoundOf returns what bounds a way where all stages may run at once and share the cores; nil: no stage is known.
func BoundOf(all []Stage, way string, cores int) *Bound {
	var cpu float64
	var b Bound
	for _, s := range all {
		if !s.neededBy(way) {
			continue
		}
		cpu += s.CPU
		if s.Seconds > b.Seconds {
			b = Bound{s.Seconds, s.Name}
		}
	}
	if c := cpu / float64(cores); c > b.Seconds {
		b = Bound{c, "the cores"}
	}
	if b.Seconds == 0 {
		return nil
	}
	return &b
}

func (s Stage) neededBy(way string) bool {
	for _, w := range s.NeededBy {
		if w == way {
			return true
		}
	}
	return false
}

// Check is a figure that has an aim.
type Check struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Text  string  `json:"text"` // the value as people read it
	Aim   string  `json:"aim"`
	Met   bool    `json:"met"`
}

// AtLeast returns a check that holds where the value reaches the aim.
func AtLeast(name string, value, aim float64) Check {
	return Check{Name: name, Value: value, Text: fmt.Sprintf("%.2f", value), Aim: fmt.Sprintf("at least %g", aim), Met: value >= aim}
}

// Under returns a check that holds where a value is less than the aim, and there is one: 0 is none. text is both as people read them.
func Under(name string, value, aim float64, text func(float64) string) Check {
	return Check{Name: name, Value: value, Text: text(value), Aim: "under " + text(aim), Met: value > 0 && value < aim}
}

// Note adds something that is to be said.
func (s *Scenario) Note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Check adds figures that have an aim.
func (s *Scenario) Check(all ...Check) { s.Checks = append(s.Checks, all...) }

// CheckRatio adds that the first way is at least so many times as quick as a peer; nothing where the peer has no sample.
func (s *Scenario) CheckRatio(peer string, atLeast float64) {
	s.Finish()
	if w := s.Way(peer); w != nil && len(w.Samples) > 0 {
		s.Check(AtLeast("our speed to that of "+peer, w.Ratio.Median, atLeast))
	}
}

// CheckShare adds that a way reaches a share of its bound.
func (s *Scenario) CheckShare(way string, atLeast float64) {
	s.Finish()
	if w := s.Way(way); w != nil && w.Bound != nil && len(w.Samples) > 0 {
		s.Check(AtLeast(way+": share of the bound ("+w.Bound.Binds+")", w.Share.Median, atLeast))
	}
}

// speeds returns how quick each sample was, in whatever the scenario compares.
func (s *Scenario) speeds(w *Way) []float64 {
	all := make([]float64, len(w.Samples))
	for i, one := range w.Samples {
		if s.Unit != "" {
			all[i] = one.Rate
		} else if one.Seconds > 0 {
			all[i] = 1 / one.Seconds
		}
	}
	return all
}

// Finish reckons what follows from the samples and the stages.
func (s *Scenario) Finish() {
	for i, w := range s.Ways {
		seconds := w.values(func(s Sample) float64 { return s.Seconds })
		w.Seconds, w.Rate = SpreadOf(seconds), SpreadOf(w.values(func(s Sample) float64 { return s.Rate }))
		if i > 0 {
			w.Ratio = SpreadOf(Ratios(s.speeds(s.Ways[0]), s.speeds(w)))
		}
		if w.Bound = BoundOf(s.Stages, w.Name, runtime.NumCPU()); w.Bound != nil {
			least := make([]float64, len(seconds))
			for k := range least {
				least[k] = w.Bound.Seconds
			}
			w.Share = SpreadOf(Ratios(least, seconds))
		}
	}
}

// Way returns the scenario's way of that name, nil if there is none.
func (s *Scenario) Way(name string) *Way {
	for _, w := range s.Ways {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// Figure returns a sample's figure as people read it.
func (s *Scenario) Figure(one Sample) string {
	if s.Unit != "" {
		return fmt.Sprintf("%.1f %s", one.Rate, s.Unit)
	}
	return fmt.Sprintf("%.2f s", one.Seconds)
}

func (w *Way) values(of func(Sample) float64) []float64 {
	all := make([]float64, len(w.Samples))
	for i, s := range w.Samples {
		all[i] = of(s)
	}
	return all
}

// Median returns the median of one figure of the way's samples.
func (w *Way) Median(of func(Sample) float64) float64 { return Median(w.values(of)) }

// Fig returns the median of a figure of a name.
func (w *Way) Fig(name string) float64 {
	return w.Median(func(s Sample) float64 { return s.Figures[name] })
}

// Peak returns the greatest peak of a program's memory over all samples, in bytes.
func (w *Way) Peak(program string) (n int64) {
	for _, s := range w.Samples {
		n = max(n, s.PeakRSS[program])
	}
	return n
}
