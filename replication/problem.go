package replication

import (
	"errors"
	"fmt"
)

// Problem is an error as an operator sees it: what happened, to what, and what to do next. Code is stable, a word such as
// "no-such-point".
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Remedy  string `json:"remedy"`
	Err     error  `json:"-"` // the cause, or nil
}

func (p *Problem) Error() string {
	if p.Err != nil {
		return fmt.Sprintf("%s: %v", p.Message, p.Err)
	}
	return p.Message
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// AsProblem returns the Problem in err's chain, or one made of err with code "internal".
func AsProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		if whole := err.Error(); whole != p.Error() { // keep the context that was wrapped around it
			return &Problem{Code: p.Code, Message: whole, Remedy: p.Remedy}
		}
		return p
	}
	return &Problem{Code: "internal", Message: err.Error(), Err: nil}
}

// Severity says how much a finding matters.
type Severity string

// The severities of findings.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is one thing that a check found. Package preflight has the list of the codes.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	ASR      string   `json:"asr,omitempty"` // the code that Azure Site Recovery has for the same thing
	Subject  string   `json:"subject"`       // the disk, machine, path or setting that it is about
	Message  string   `json:"message"`       // what was seen
	Remedy   string   `json:"remedy"`
}
