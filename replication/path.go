package replication

import (
	"fmt"
	"time"
)

// PathAsk says how a path is to be measured, and what it is to be judged for.
type PathAsk struct {
	Each     time.Duration // how long each way is filled; 0: the path is not measured
	MaxBytes int64         // that are sent each way at most; 0: MaxPathBytes
	Churn    float64       // bytes a second that are expected to change; 0: not known
}

// Bounds of a PathAsk.
const (
	MaxPathTime  = time.Minute
	MaxPathBytes = 1 << 30
)

// Check says whether a path can be measured so.
func (a PathAsk) Check() error {
	if a.Each < 0 || a.Each > MaxPathTime || a.MaxBytes < 0 || a.MaxBytes > MaxPathBytes {
		return &Problem{Code: "path-ask", Message: fmt.Sprintf("measure the path for %v with %d bytes", a.Each, a.MaxBytes),
			Remedy: fmt.Sprintf("give a time up to %v, 0 for none, and at most %d bytes", MaxPathTime, MaxPathBytes)}
	}
	if !(a.Churn >= 0 && a.Churn < 1e12) {
		return &Problem{Code: "path-ask", Message: fmt.Sprintf("a churn of %g bytes a second", a.Churn), Remedy: "give what changes in a second, such as 20MB/s"}
	}
	return nil
}

// Path is what was found of the way between a process server and its master target.
type Path struct {
	Connections int           `json:"connections"`  // that were filled at a time
	Connect     time.Duration `json:"connect_ns"`   // until TCP was connected
	Handshake   time.Duration `json:"handshake_ns"` // from there until TLS and HTTP/2 were
	RTT         time.Duration `json:"rtt_ns"`       // the least of several small messages
	Loaded      time.Duration `json:"rtt_loaded_ns"`
	Skew        time.Duration `json:"clock_skew_ns"`        // the process server's clock less the master target's
	SkewWithin  time.Duration `json:"clock_skew_within_ns"` // how far that may be wrong
	Up          PathRate      `json:"up"`                   // toward the master target
	Down        PathRate      `json:"down"`
	Segment     int           `json:"segment"` // bytes that TCP sends in one packet; 0: not known

	// Segments of Vanished bytes do not arrive, while small ones do: 0 for a path without that fault. Those of Passes bytes do, as far as was tried.
	Vanished     int  `json:"vanished_segment"`
	Passes       int  `json:"passing_segment"`
	VanishedDown bool `json:"vanished_down"` // on the way back
}

// PathRate is how fast one way was. Zero: it was not measured.
type PathRate struct {
	Rate   float64       `json:"rate"`  // bytes a second, the ramp left out
	Bytes  int64         `json:"bytes"` // that came
	Lasted time.Duration `json:"lasted_ns"`
	Again  float64       `json:"again"` // share of the segments that TCP sent again
}

// Checked is what a check of a plan found.
type Checked struct {
	Group    GroupID
	Findings []Finding
	Path     *Path // nil: not measured
}

// Certificate is one of those by which a side of a connection is known.
type Certificate struct {
	Name  string // its subject's common name
	Until time.Time
}
