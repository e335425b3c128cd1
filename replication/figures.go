package replication

import "time"

// Figures are what a process server measures of itself and of its machine.
type Figures struct {
	Time       time.Time `json:"time,omitzero"` // when they were taken; with whom they were told, when they came
	CPU        float64   `json:"cpu"`           // share of the cores that was busy since the figures before, 0 to 1; below 0: not known
	Memory     float64   `json:"memory"`        // share of the memory that is not available, 0 to 1; below 0: not known
	StateFree  int64     `json:"state_free"`    // bytes, on the volume of the state directory
	StateTotal int64     `json:"state_total"`   // bytes; 0: not known
	Shipping   int       `json:"shipping"`      // shipments under way
	Pending    int64     `json:"pending"`       // bytes that these have read and not seen acknowledged
}

// Level says how bad something is.
type Level string

// The levels, as the product that this one replaces names them.
const (
	Healthy  Level = "healthy"
	Warned   Level = "warning"
	Critical Level = "critical"
)

// Rank orders levels: 0 is healthy.
func (l Level) Rank() int {
	switch l {
	case Warned:
		return 1
	case Critical:
		return 2
	}
	return 0
}

// Worse returns the worse of two levels. The zero Level is healthy.
func (l Level) Worse(m Level) Level {
	if m.Rank() > l.Rank() {
		return m
	}
	if l == "" {
		return Healthy
	}
	return l
}

// Alert is something that is wrong for long enough to be told. Rule and Subject name it.
type Alert struct {
	Rule    string    `json:"rule"`  // in one word, see package health
	Code    string    `json:"code"`  // of the product that this one replaces, where it has one for the same; else empty
	Group   GroupID   `json:"group"` // empty: it is about a process server, or the master target
	Subject string    `json:"subject"`
	Level   Level     `json:"level"`
	Raised  time.Time `json:"raised"` // when it came to be told
	Message string    `json:"message"`
	Remedy  string    `json:"remedy"`
}
