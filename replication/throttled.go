package replication

import "time"

// ThrottleChange is what an operator changes of how much may go over the link.
type ThrottleChange struct {
	Schedule *string       // of the master target, see package throttle; nil: stays
	Group    GroupID       // whose priority or pass it is
	Priority int           // 0: stays
	Let      bool          // the group through, for Pass from now; no more, when that is 0
	Pass     time.Duration //
}

// ThrottleStatus is how that stands.
type ThrottleStatus struct {
	Schedule string          `json:"schedule"`
	Limit    int64           `json:"limit"`         // bytes a second on the wire now, of all groups together; 0: none
	Next     time.Time       `json:"next,omitzero"` // when the schedule says another one; zero: never
	Use      float64         `json:"use"`           // bytes a second on the wire, lately
	Groups   []GroupThrottle `json:"groups"`
}

// GroupThrottle is a group's part.
type GroupThrottle struct {
	Group     GroupID   `json:"group"`
	Priority  int       `json:"priority"`
	PassUntil time.Time `json:"pass_until,omitzero"` // zero: it is not let through
	Limit     int64     `json:"limit"`               // of its shipment under way; 0: none
	Use       float64   `json:"use"`
}

// Priorities of groups: their weights when they share a limit.
const (
	DefaultPriority = 10
	MaxPriority     = 100
)
