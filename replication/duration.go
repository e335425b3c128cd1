package replication

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration as people write it, in plans and commands: 90s, 5m, 1h30m, 2d.
type Duration time.Duration

// ParseDuration reads a duration: one or more numbers, each with its unit, which is d, h, m, s or ms.
func ParseDuration(s string) (Duration, error) {
	text := strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit: write %ss, %sm or %sh", s, text, text, text)
	}
	var days time.Duration
	if d, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(d, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration: write it as 90s, 5m, 1h30m or 2d", s)
		}
		days, text = time.Duration(n)*24*time.Hour, rest
		if text == "" {
			return Duration(days), nil
		}
	}
	t, err := time.ParseDuration(text)
	if err != nil || t < 0 || t > math.MaxInt64-days {
		return 0, fmt.Errorf("%q is not a duration: write it as 90s, 5m, 1h30m or 2d", s)
	}
	return Duration(days + t), nil
}

// String returns the duration in the form that ParseDuration reads: 90s is 1m30s, an hour is 1h.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the duration as String has it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
