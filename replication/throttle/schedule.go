package throttle

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a master target may have no zones of its own
)

// Schedule is a calendar of limits. The zero Schedule has none.
type Schedule struct {
	Rules []Rule
	Zone  string // IANA name; "" is UTC
	place *time.Location
}

// Rule is a limit and when it applies.
type Rule struct {
	Rate     Rate
	Days     [7]bool // from Sunday; none: every day
	From, To int     // minutes of the day; To at or below From: past midnight; both 0: the whole day
}

// MaxRules bounds a schedule.
const MaxRules = 64

var dayNames = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Parse reads a schedule. "" and "none" are no limits.
func Parse(text string) (Schedule, error) {
	var s Schedule
	for part := range strings.FieldsFuncSeq(text, endsRule) {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		if words[0] == "in" {
			if len(words) != 2 || s.Zone != "" {
				return s, fmt.Errorf("%q names no time zone: write in Europe/Berlin, once", strings.TrimSpace(part))
			}
			s.Zone = words[1]
			continue
		}
		r, err := parseRule(words)
		if err != nil {
			return s, fmt.Errorf("rule %q: %w", strings.TrimSpace(part), err)
		}
		if s.Rules = append(s.Rules, r); len(s.Rules) > MaxRules {
			return s, fmt.Errorf("more than %d rules", MaxRules)
		}
	}
	place, err := time.LoadLocation(s.Zone) // "" is UTC
	if err != nil || s.Zone == "Local" {
		return s, fmt.Errorf("time zone %q is not known: write one such as Europe/Berlin", s.Zone)
	}
	if s.place = place; len(s.Rules) == 1 && s.Rules[0] == (Rule{}) { // none
		s.Rules = nil
	}
	return s, nil
}

// endsRule says whether a rule ends there.
func endsRule(r rune) bool { return r == ';' || r == '\n' }

func parseRule(words []string) (r Rule, err error) {
	if len(words) > 1 && isUnit(words[1]) { // 1,023 Mbps
		words = append([]string{words[0] + words[1]}, words[2:]...)
	}
	if r.Rate, err = ParseRate(words[0]); err != nil {
		return r, err
	}
	days, hours := false, false
	for _, w := range words[1:] {
		switch {
		case strings.Contains(w, ":") && !hours:
			hours = true
			from, to, ok := strings.Cut(w, "-")
			if r.From, err = minute(from); err == nil {
				r.To, err = minute(to)
			}
			if !ok || err != nil || r.From == 24*60 || r.From == r.To {
				return r, fmt.Errorf("%q are no hours: write them as 08:00-18:00", w)
			}
		case !days && !hours:
			days = true
			if r.Days, err = parseDays(w); err != nil {
				return r, err
			}
		default:
			return r, fmt.Errorf("%q is too much: a rule is a rate, days and hours, as in 20Mbps mon-fri 08:00-18:00", w)
		}
	}
	return r, nil
}

// minute reads an hour of the day; 24:00 is its end. Seconds of the product that is replaced may stand there, if they are none.
func minute(s string) (int, error) {
	parts := strings.Split(s, ":")
	if len(parts) == 3 && parts[2] == "00" {
		parts = parts[:2]
	}
	if len(parts) != 2 {
		return 0, fmt.Errorf("%q is no time of the day", s)
	}
	h, err1 := strconv.ParseUint(parts[0], 10, 8)
	m, err2 := strconv.ParseUint(parts[1], 10, 8)
	if n := int(h*60 + m); err1 == nil && err2 == nil && m < 60 && n <= 24*60 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is no time of the day", s)
}

// parseDays reads days: mon-fri, sat,sun, fri-mon.
func parseDays(s string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(strings.ToLower(s), ",") {
		first, last, span := strings.Cut(part, "-")
		a, b := day(first), day(last)
		if !span {
			b = a
		}
		if a < 0 || b < 0 {
			return days, fmt.Errorf("%q are no days: write them as mon-fri or sat,sun", s)
		}
		for i := a; ; i = (i + 1) % 7 {
			days[i] = true
			if i == b {
				break
			}
		}
	}
	return days, nil
}

// day reads a day by its name, in full, or by its first two or three letters; -1: none.
func day(s string) int {
	full := [7]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	for i, name := range full {
		if s == name || s == name[:3] || s == name[:2] {
			return i
		}
	}
	return -1
}

// String returns the schedule in the form that Parse reads.
func (s Schedule) String() string {
	if len(s.Rules) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, r := range s.Rules {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.String())
	}
	if s.Zone != "" {
		b.WriteString("; in " + s.Zone)
	}
	return b.String()
}

func (r Rule) String() string {
	text := r.Rate.String()
	if r.Days != ([7]bool{}) {
		var names []string
		for k := 1; k <= 7; k++ { // weeks begin on Monday
			a := k % 7
			if !r.Days[a] {
				continue
			}
			b := k
			for b+1 <= 7 && r.Days[(b+1)%7] {
				b++
			}
			if b > k+1 {
				names = append(names, dayNames[a]+"-"+dayNames[b%7])
				k = b
			} else {
				names = append(names, dayNames[a])
			}
		}
		text += " " + strings.Join(names, ",")
	}
	if r.From != r.To {
		text += fmt.Sprintf(" %02d:%02d-%02d:%02d", r.From/60, r.From%60, r.To/60, r.To%60)
	}
	return text
}

// applies says whether the rule holds at a time that is shown on the clocks of its zone.
func (r Rule) applies(t time.Time) bool {
	on := func(d time.Weekday) bool { return r.Days == ([7]bool{}) || r.Days[d] }
	now := t.Hour()*60 + t.Minute()
	switch {
	case r.From == r.To:
		return on(t.Weekday())
	case r.From < r.To:
		return now >= r.From && now < r.To && on(t.Weekday())
	case now >= r.From:
		return on(t.Weekday())
	}
	return now < r.To && on((t.Weekday()+6)%7) // since yesterday
}

// local returns the time that clocks of the schedule's zone show.
func (s Schedule) local(t time.Time) time.Time {
	if s.place == nil {
		return t.UTC()
	}
	return t.In(s.place)
}

// At returns the limit at a time.
func (s Schedule) At(t time.Time) Rate {
	t = s.local(t)
	for _, r := range s.Rules {
		if r.applies(t) {
			return r.Rate
		}
	}
	return 0
}

// Next returns when the limit will be another one, to the minute; zero: not within eight days, which is never.
func (s Schedule) Next(t time.Time) time.Time {
	now, at := s.At(t), t.Truncate(time.Minute)
	for range 8 * 24 * 60 {
		if at = at.Add(time.Minute); s.At(at) != now {
			return at
		}
	}
	return time.Time{}
}
