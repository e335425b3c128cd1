package throttle

import (
	"fmt"
	"strings"
	"time"
)

// Window is when something may begin by itself. The zero Window is always open.
//
//	18:00-06:00
//	mon-fri 22:00-05:00; sat,sun; in Europe/Berlin
//
// Days, hours and the time zone are as in a Schedule.
type Window struct{ hours Schedule }

// ParseWindow reads a window. "" and "always" are the zero Window.
func ParseWindow(text string) (Window, error) {
	if text = strings.TrimSpace(text); text == "" || text == "always" {
		return Window{}, nil
	}
	var rules []string
	for part := range strings.FieldsFuncSeq(text, endsRule) {
		switch words := strings.Fields(part); {
		case len(words) == 0: // after the last one
			continue
		case words[0] != "in":
			part = "none " + part
		}
		rules = append(rules, part)
	}
	s, err := Parse(strings.Join(rules, ";"))
	if err != nil || len(s.Rules) == 0 {
		return Window{}, fmt.Errorf("%q is no window: write hours, with days before them where it is not every day, and a time zone where it is not UTC: 18:00-06:00, or mon-fri 22:00-05:00; sat,sun; in Europe/Berlin", text)
	}
	return Window{s}, nil
}

// IsZero says whether the window is always open.
func (w Window) IsZero() bool { return len(w.hours.Rules) == 0 }

// Open says whether the window is open at a time.
func (w Window) Open(t time.Time) bool {
	t = w.hours.local(t)
	for _, r := range w.hours.Rules {
		if r.applies(t) {
			return true
		}
	}
	return w.IsZero()
}

// Opens returns when the window is open first from a time on, to the minute; zero: not within eight days, which is never.
func (w Window) Opens(t time.Time) time.Time {
	if w.Open(t) {
		return t
	}
	at := t.Truncate(time.Minute)
	for range 8 * 24 * 60 {
		if at = at.Add(time.Minute); w.Open(at) {
			return at
		}
	}
	return time.Time{}
}

// String returns the window in the form that ParseWindow reads.
func (w Window) String() string {
	if w.IsZero() {
		return "always"
	}
	return strings.ReplaceAll(strings.TrimPrefix(w.hours.String(), "none "), "; none ", "; ")
}

// MarshalText returns String.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }
