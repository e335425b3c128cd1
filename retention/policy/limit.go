package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Limit is an amount of space: so many bytes, or a share of the volume. The zero Limit is none.
type Limit struct {
	bytes   int64
	percent float64
}

// Bytes returns a limit of n bytes.
func Bytes(n int64) Limit { return Limit{bytes: n} }

// Percent returns a limit of so many hundredths of the volume.
func Percent(p float64) Limit { return Limit{percent: p} }

// Of returns the limit in bytes on a volume of a capacity; 0: none.
func (l Limit) Of(capacity int64) int64 {
	if l.percent > 0 {
		return int64(float64(capacity) * l.percent / 100)
	}
	return l.bytes
}

// IsPercent says whether the limit is a share of the volume.
func (l Limit) IsPercent() bool { return l.percent > 0 }

var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseLimit reads a limit: 70 %, 500GiB. It is more than nothing, and not more than the whole.
func ParseLimit(s string) (Limit, error) {
	const how = "write a share of the volume such as 70%, or a size such as 500GiB"
	number := func(s string) (float64, bool) {
		s = strings.TrimSpace(s)
		if s == "" || strings.Trim(s, "0123456789.") != "" {
			return 0, false
		}
		f, err := strconv.ParseFloat(s, 64)
		return f, err == nil
	}
	s = strings.TrimSpace(s)
	if p, ok := strings.CutSuffix(s, "%"); ok {
		f, ok := number(p)
		if !ok || f <= 0 || f > 100 {
			return Limit{}, fmt.Errorf("%q is not a share of the volume: it is more than 0%% and at most 100%%", s)
		}
		return Percent(f), nil
	}
	if _, ok := number(s); ok {
		return Limit{}, fmt.Errorf("%q has no unit: %s", s, how)
	}
	for _, u := range units {
		n, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		f, ok := number(n)
		if !ok || f <= 0 || f*float64(u.size) >= math.MaxInt64 || f*float64(u.size) < 1 {
			break
		}
		return Bytes(int64(f * float64(u.size))), nil
	}
	return Limit{}, fmt.Errorf("%q is not an amount of space: %s", s, how)
}

// String returns the limit in the form that ParseLimit reads.
func (l Limit) String() string {
	if l.percent > 0 {
		return strconv.FormatFloat(l.percent, 'f', -1, 64) + "%"
	}
	for _, u := range units {
		if l.bytes >= u.size && l.bytes%u.size == 0 {
			return strconv.FormatInt(l.bytes/u.size, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText writes the limit as String has it.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Limits are what a group's journal, or a volume's content, may take.
type Limits struct {
	Soft    Limit `json:"soft"`    // above it spares are dropped
	Hard    Limit `json:"hard"`    // above it history is given up
	Reserve Limit `json:"reserve"` // of the volume, left free by arrivals; replication is held back when less is
}

// DefaultLimits are those of a plan that names none.
func DefaultLimits() Limits {
	return Limits{Soft: Percent(70), Hard: Percent(90), Reserve: Percent(2)}
}

// Complete fills in what is left out (the zero Limit) with the defaults, made to go with what was given: a lower hard limit has a lower soft limit.
func (l Limits) Complete() Limits {
	d := DefaultLimits()
	if l.Reserve == (Limit{}) {
		l.Reserve = d.Reserve
	}
	if l.Hard == (Limit{}) {
		l.Hard = d.Hard
	}
	switch {
	case l.Soft != (Limit{}):
	case !l.Hard.IsPercent():
		l.Soft = Bytes(max(l.Hard.bytes/9*7, 1))
	default:
		l.Soft = Percent(min(d.Soft.percent, l.Hard.percent/9*7))
		if whole := math.Floor(l.Soft.percent); whole > 0 {
			l.Soft.percent = whole
		}
	}
	return l
}

// Validate says what is wrong with limits on a volume of a capacity; of one that is not known (0), what can be seen without.
func (l Limits) Validate(capacity int64) error {
	same := l.Soft.IsPercent() == l.Hard.IsPercent()
	of := func(x Limit) int64 {
		if capacity > 0 {
			return x.Of(capacity)
		}
		return x.Of(1 << 50)
	}
	switch known := capacity > 0; {
	case l.Soft == (Limit{}) || l.Hard == (Limit{}):
		return fmt.Errorf("the limits soft %s and hard %s: both have to be more than nothing", l.Soft, l.Hard)
	case (known || same) && of(l.Soft) >= of(l.Hard):
		return fmt.Errorf("the soft limit %s is not below the hard limit %s: above the soft one spare copies are dropped, above the hard one history is", l.Soft, l.Hard)
	case known && of(l.Hard) > capacity:
		return fmt.Errorf("the hard limit %s is more than the volume has: %s", l.Hard, size(capacity))
	case (known || l.Hard.IsPercent() && l.Reserve.IsPercent()) && of(l.Hard) > of(Percent(100))-of(l.Reserve):
		return fmt.Errorf("the hard limit %s and the reserve %s are together more than the volume", l.Hard, l.Reserve)
	}
	return nil
}

// size writes an amount of space for people.
func size(n int64) string {
	for _, u := range units {
		if n >= u.size && u.size > 1 {
			f := float64(n) / float64(u.size)
			if f < 10 {
				return strconv.FormatFloat(f, 'f', 1, 64) + " " + u.name
			}
			return strconv.FormatFloat(f, 'f', 0, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}
