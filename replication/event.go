package replication

import "time"

// EventKind says what an event is about.
type EventKind string

// The kinds of events.
const (
	EventStarted       EventKind = "started"        // the master target did
	EventState         EventKind = "state"          // a group came into another state
	EventProblem       EventKind = "problem"        // a group has one, has another one, or has none any more
	EventPoint         EventKind = "point"          // was listed
	EventMissed        EventKind = "missed"         // scheduled points were not made
	EventDropped       EventKind = "dropped"        // points were, by policy or for space
	EventMove          EventKind = "move"           // of the disks
	EventCutover       EventKind = "cutover"        // a step of one
	EventDrill         EventKind = "drill"          // began or ended
	EventVerify        EventKind = "verify"         // a point was compared with the source
	EventDamage        EventKind = "damage"         // in a journal
	EventPlan          EventKind = "plan"           // a group came, went, or has another plan
	EventProcessServer EventKind = "process-server" // came or went
	EventAlert         EventKind = "alert"          // was raised, changed its level, or was cleared
)

// Event is something that happened. Of an alert, Level is its new one: healthy says that it is over.
type Event struct {
	No      uint64    `json:"no"` // rising, over restarts of the master target
	Time    time.Time `json:"time"`
	Kind    EventKind `json:"kind"`
	Group   GroupID   `json:"group"`   // empty: none
	Subject string    `json:"subject"` // the group, disk or process server
	Level   Level     `json:"level"`
	Code    string    `json:"code"` // of an alert or problem; empty: none
	Rule    string    `json:"rule"` // of an alert
	Point   PointID   `json:"point"`
	Message string    `json:"message"`
	Remedy  string    `json:"remedy"` // empty: none is needed
}

// EventsRequest says which events are wanted.
type EventsRequest struct {
	Group  GroupID   // "": all, and those of process servers
	Since  time.Time // zero: from the oldest that is kept
	After  uint64    // later than that number
	Follow bool      // and what happens from then on
}

// Wants says whether an event is asked for.
func (r EventsRequest) Wants(e Event) bool {
	return (r.Group == "" || e.Group == r.Group || e.Group == "" && e.Kind == EventStarted) && e.No > r.After && !e.Time.Before(r.Since)
}
