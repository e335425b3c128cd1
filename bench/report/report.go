package report

import "time"

// Report is one run of the harness.
type Report struct {
	Started   time.Time   `json:"started"`
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

// Param is a setting of the run, in words.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Scenario is a job, done in several ways.
type Scenario struct {
	Name   string   `json:"name"`
	About  string   `json:"about"` // the job, with its sizes
	Bytes  int64    `json:"bytes"` // that the job is about; rates are of these
	Ways   []*Way   `json:"ways"`
	Stages []Stage  `json:"stages,omitempty"`
	Checks []Check  `json:"checks,omitempty"`
	Notes  []string `json:"notes,omitempty"`
	Failed string   `json:"failed,omitempty"` // why there is no result
}

// Way is one way of doing the job. The first one of a scenario is ours: the others are measured against it.
type Way struct {
	Name    string   `json:"name"`
	Missing string   `json:"missing,omitempty"` // what to install for it
	Failed  string   `json:"failed,omitempty"`
	Samples []Sample `json:"samples"`
	// What follows from the samples; Finish fills it in.
	Seconds Spread `json:"seconds"`
	Ratio   Spread `json:"first_to_this"` // of the first way's time to this one's, in pairs; zero for the first
}

// Stage is one part of the job, done alone on this machine: what bounds every way that cannot do without it.
type Stage struct {
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`     // with all cores, where the work divides
	CPU     float64 `json:"cpu_seconds"` // on all cores
	Needed  bool    `json:"needed"`      // ours cannot do without it
}

// Bound returns the least time that the job can take where all stages share the cores, and what binds: the slowest stage that is needed, or the cores.
func Bound(all []Stage, cores int) (seconds float64, binds string) {
	var cpu float64
	for _, s := range all {
		if !s.Needed {
			continue
		}
		cpu += s.CPU
		if s.Seconds > seconds {
			seconds, binds = s.Seconds, s.Name
		}
	}
	if c := cpu / float64(cores); c > seconds {
		seconds, binds = c, "the cores"
	}
	return seconds, binds
}

// Check is a figure that has an aim.
type Check struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Text  string  `json:"text"` // the value as people read it
	Aim   string  `json:"aim"`
	Met   bool    `json:"met"`
}

// seconds returns the samples' wall times.
func (w *Way) seconds() []float64 {
	all := make([]float64, len(w.Samples))
	for i, s := range w.Samples {
		all[i] = s.Seconds
	}
	return all
}

// Finish reckons what follows from the samples.
func (s *Scenario) Finish() {
	for i, w := range s.Ways {
		w.Seconds = SpreadOf(w.seconds())
		if i > 0 {
			w.Ratio = SpreadOf(Ratios(s.Ways[0].seconds(), w.seconds()))
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

// Median returns the median of one figure of the way's samples.
func (w *Way) Median(of func(Sample) float64) float64 {
	all := make([]float64, len(w.Samples))
	for i, s := range w.Samples {
		all[i] = of(s)
	}
	return Median(all)
}
