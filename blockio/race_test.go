//go:build race

package blockio

// underRace: the race detector makes everything ten times as slow.
const underRace = true
