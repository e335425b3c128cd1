package replication

import "time"

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
