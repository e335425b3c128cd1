package replication

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// DrillOutcome is what an operator found in a drill.
type DrillOutcome string

// The outcomes of a drill.
const (
	DrillPassed DrillOutcome = "passed"
	DrillFailed DrillOutcome = "failed"
)

// MaxNote is how many bytes an operator's note on a drill or a pin may have.
const MaxNote = 1024

// Drilled is the outcome of the last drill of a point, as an operator recorded it.
type Drilled struct {
	Outcome DrillOutcome `json:"outcome"`
	Time    time.Time    `json:"time"` // when it was recorded
	Note    string       `json:"note"` // the operator's words; one line, or empty
}

// Check says what is wrong with an outcome that is to be recorded.
func (d Drilled) Check() error {
	if d.Outcome != DrillPassed && d.Outcome != DrillFailed {
		return fmt.Errorf("the outcome of a drill is %s or %s, not %q", DrillPassed, DrillFailed, d.Outcome)
	}
	return CheckNote(d.Note)
}

// CheckNote says what is wrong with an operator's note on a point.
func CheckNote(note string) error {
	if len(note) > MaxNote {
		return fmt.Errorf("the note has %d bytes, at most %d are kept", len(note), MaxNote)
	}
	if !utf8.ValidString(note) || strings.ContainsFunc(note, unicode.IsControl) {
		return fmt.Errorf("the note %q is not one line of text", note)
	}
	return nil
}

// DrillRequest says what a drill shows, where and for how long.
type DrillRequest struct {
	Point       PointID
	Mountpoint  string // on the master target's machine: an absolute path of an empty directory, or of one to make
	Writable    bool
	Scratch     string        // directory of the scratch file; empty: the master target's choice
	ScratchSize int64         // bytes that it may take; 0: the master target's choice
	For         time.Duration // 0: until it is ended
	Detach      bool          // it goes on when the call that started it has ended
}

// DrillStatus is a drill that is under way: the disks of a point, mounted as files on the master target's machine.
type DrillStatus struct {
	Point      PointID      `json:"point"`
	Mountpoint string       `json:"mountpoint"`
	Files      []DrillFile  `json:"files"`
	Since      time.Time    `json:"since"`
	Until      time.Time    `json:"until,omitzero"` // zero: until it is ended
	Writable   bool         `json:"writable"`
	Scratch    DrillScratch `json:"scratch"`           // zero: not writable
	Errors     int64        `json:"errors"`            // reads and writes that failed
	LastError  string       `json:"last_error"`        // empty: none
	Without    []UnbornDisk `json:"without,omitempty"` // disks that joined after the point, or left before
}

// DrillFile is one disk in a drill.
type DrillFile struct {
	Disk DiskID `json:"disk"`
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// DrillScratch is what a writable drill has written, and may write: it is thrown away at the end.
type DrillScratch struct {
	Dir   string `json:"dir"`
	Used  int64  `json:"used"`  // bytes
	Limit int64  `json:"limit"` // bytes
}
