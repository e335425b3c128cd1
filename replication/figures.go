package replication

import "time"

// Figures are what a process server measures of itself and of its machine.
type Figures struct {
	Time       time.Time `json:"time,omitzero"`    // when they were taken; with whom they were told, when they came
	CPU        float64   `json:"cpu"`              // share of the cores that was busy since the figures before, 0 to 1; below 0: not known
	Memory     float64   `json:"memory"`           // share of the memory that is not available, 0 to 1; below 0: not known
	StateFree  int64     `json:"state_free"`       // bytes, on the volume of the state directory
	StateTotal int64     `json:"state_total"`      // bytes; 0: not known
	Shipping   int       `json:"shipping"`         // shipments under way
	Frozen     []string  `json:"frozen,omitempty"` // machines, as group/machine, that could not be thawed after a cut
	Clock      time.Time `json:"clock,omitzero"`   // the process server's when it took them; zero: not told. Less Time, it is off by that much, and by one network delay
}
