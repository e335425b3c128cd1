package throttle

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rate is bytes a second on the wire. 0: no limit.
type Rate int64

// Bounds of a limit: that keeps a link's signs of life going, and that is none.
const (
	MinRate Rate = 64_000 / 8
	MaxRate Rate = 400_000_000_000 / 8
)

// units are what a rate may be written in, in bytes a second; longer names first.
var units = []unit{
	{"kib/s", 1 << 10}, {"mib/s", 1 << 20}, {"gib/s", 1 << 30}, {"kb/s", 1e3}, {"mb/s", 1e6}, {"gb/s", 1e9},
	{"kbit/s", 1e3 / 8}, {"mbit/s", 1e6 / 8}, {"gbit/s", 1e9 / 8}, {"kbps", 1e3 / 8}, {"mbps", 1e6 / 8}, {"gbps", 1e9 / 8}, {"bps", 1. / 8}, {"b/s", 1},
}

type unit struct {
	name  string
	bytes float64
}

// thousands is a number with commas before each three digits, and nowhere else: 1,5 is not fifteen.
var thousands = regexp.MustCompile(`^\d{1,3}(,\d{3})+([^,\d]|$)`)

// isUnit says whether a word is the unit of the number before it.
func isUnit(word string) bool {
	return slices.ContainsFunc(units, func(u unit) bool { return u.name == strings.ToLower(word) })
}

// ParseRate reads a rate: 20Mbps, 1,023 Mbps, 2.5MB/s, 524288 (bits), or none.
func ParseRate(s string) (Rate, error) {
	text := strings.ToLower(strings.ReplaceAll(s, " ", ""))
	if thousands.MatchString(text) {
		text = strings.ReplaceAll(text, ",", "")
	}
	if text == "none" {
		return 0, nil
	}
	unit := 1. / 8
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return 0, fmt.Errorf("%q is not a rate: write it as 512Kbps, 20Mbps or 2.5MB/s, or none", s)
	}
	r := n * unit
	if r < float64(MinRate) || r > float64(MaxRate) {
		return 0, fmt.Errorf("%s is not between %s and %s; none is no limit", s, MinRate, MaxRate)
	}
	return Rate(math.Round(r)), nil
}

// String returns the rate in the form that ParseRate reads.
func (r Rate) String() string {
	if r <= 0 {
		return "none"
	}
	bits := float64(r) * 8
	for _, u := range []struct {
		name string
		bits float64
	}{{"Gbps", 1e9}, {"Mbps", 1e6}, {"Kbps", 1e3}} {
		if bits >= u.bits {
			if text := strconv.FormatFloat(bits/u.bits, 'f', -1, 64); len(text) <= 7 {
				return text + u.name
			}
		}
	}
	return strconv.FormatFloat(bits, 'f', 0, 64) + "bps"
}
