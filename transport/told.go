package transport

import (
	"math"
	"strings"
	"unicode"
)

// Bounds of what peers tell for people, in bytes.
const (
	maxWord = 64       // a code, a version, a name
	maxTold = 16 << 10 // a message, what to do
)

// told returns what a peer says for people: at most so many bytes, and nothing that a terminal would obey.
func told(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// atMost returns what is looked at of what a peer lists.
func atMost[T any](n int, all []T) []T { return all[:min(n, len(all))] }

// counted returns a number of bytes, or of nanoseconds, that a peer has counted: those of all disks can be added up.
func counted(n int64) int64 { return min(max(n, 0), 1<<56) }

// measured returns a rate that a peer has measured; 0 for what is none.
func measured(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0
	}
	return v
}
