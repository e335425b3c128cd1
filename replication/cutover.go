package replication

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// CommitRequest is how an operator wants a group to fail back.
type CommitRequest struct {
	Point     PointID   // that the disks are brought to; 0: one that is made at the end
	Stop      string    // command that stops the machine at the source, before the last point is made; empty: none
	After     string    // command that is run when the disks are closed; empty: none
	Verify    bool      // compare the point with the source's snapshot before
	NotBefore time.Time // nothing happens until then; replication goes on
}

// MaxCommand bounds the bytes of a command of a commit.
const MaxCommand = 4 << 10

// Check says whether the request is one.
func (r *CommitRequest) Check() error {
	for name, line := range map[string]string{"stop-command": r.Stop, "after-command": r.After} {
		if len(line) > MaxCommand || !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
			return &Problem{Code: CodeCutover, Message: fmt.Sprintf("the %s of %d bytes is none: at most %d bytes of text", name, len(line), MaxCommand), Remedy: "put it into a script on the master target's machine, and name that"}
		}
	}
	return nil
}

// CutoverStatus tells of a planned failback.
type CutoverStatus struct {
	Step      string        `json:"step"`                    // final, closing, committed or undoing
	Since     time.Time     `json:"since"`                   // in Step
	Point     PointID       `json:"point"`                   // that the disks are brought to; 0: the one that is being made
	From      PointID       `json:"from"`                    // where the disks stood before
	Held      bool          `json:"held"`                    // a rewind held them there
	NotBefore time.Time     `json:"not_before,omitzero"`     //
	Doing     string        `json:"doing"`                   // in words; empty: nothing
	Done      int64         `json:"done"`                    // of Doing, in bytes; 0: not known
	Total     int64         `json:"total"`                   //
	Left      time.Duration `json:"left_nanos"`              // of Doing, estimated; 0: not known
	Next      string        `json:"next"`                    // what comes then, in words
	Stop      string        `json:"stop_command,omitempty"`  //
	After     string        `json:"after_command,omitempty"` //
	Ended     string        `json:"after_ended,omitempty"`   // what became of After
	Down      time.Duration `json:"down_nanos,omitzero"`     // the machine was, from its stop until the disks were closed; 0: not known
}

// Codes of problems with a cutover that a caller can act on.
const (
	CodeCommitted    = "committed"     // the disks are the machine's: what was asked for needs them
	CodeNotCommitted = "not-committed" // there is nothing to undo, or to finish
	CodeCutover      = "cutover"       // a commit or an undo is under way
	CodeUndone       = "commit-undone" // an operator took the commit back before its end
	CodeStopCommand  = "stop-command"  // it failed, and nothing was changed
	CodeAfterCommand = "after-command" // it failed; the group is committed
)
