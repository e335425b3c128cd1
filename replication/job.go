package replication

import "time"

// JobKind is what an operator asked for.
type JobKind string

// The kinds of jobs.
const (
	JobReprotect JobKind = "reprotect"
	JobRewind    JobKind = "rewind"
	JobAdvance   JobKind = "advance"
	JobResync    JobKind = "resync"
	JobVerify    JobKind = "verify"
	JobCommit    JobKind = "commit"
	JobUndo      JobKind = "undo"
	JobFinish    JobKind = "finish"
	JobUnprotect JobKind = "unprotect"
)

// JobState is how a job stands.
type JobState string

// The states of a job.
const (
	JobRunning   JobState = "running"
	JobDone      JobState = "done"
	JobFailed    JobState = "failed"
	JobCancelled JobState = "cancelled" // by an operator
	JobLost      JobState = "lost"      // the master target was started anew meanwhile, and what became of it is not known
)

// Job is one thing that an operator asked of a group, from then on until it has ended.
type Job struct {
	ID      uint64        `json:"id"` // rises
	Kind    JobKind       `json:"kind"`
	Group   GroupID       `json:"group"`
	Point   PointID       `json:"point"`  // that it is about; 0: the latest, or none
	Detail  string        `json:"detail"` // what was asked, in words
	State   JobState      `json:"state"`
	Began   time.Time     `json:"began"`
	Ended   time.Time     `json:"ended,omitzero"`
	Resumed bool          `json:"resumed"`         // it went on after the master target was started anew
	Doing   string        `json:"doing,omitempty"` // in words; empty: nothing that is known
	Done    int64         `json:"done"`            // of that, in bytes; 0: not known
	Total   int64         `json:"total"`
	Left    time.Duration `json:"left_nanos"` // of that, estimated; 0: not known
	Result  string        `json:"result"`     // in words, when it is done
	Problem *Problem      `json:"problem"`    // nil: none
}

// CodeNoJob is the code of a job that is not there, or can't be cancelled.
const CodeNoJob = "no-job"
